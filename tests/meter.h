/* An allocator for tests: it counts calls and bytes that live, and the call number fail_at (from 0; SIZE_MAX: none) fails.
 *   meter m = { .fail_at = n };  tern_allocator mem = { meter_alloc, meter_free, &m }; */
#ifndef TERN_TESTS_METER_H
#define TERN_TESTS_METER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct meter { size_t now, calls, fail_at; } meter;

static void *meter_alloc(void *user, size_t size)
{
    meter *m = user;
    if (m->calls++ == m->fail_at) return NULL;
    m->now += size;
    return aligned_alloc(64, (size + 63) & ~(size_t)63);
}

static void meter_free(void *user, void *p, size_t size)
{
    ((meter *)user)->now -= size;
    free(p);
}

#endif
