/* What a fuzz target shares with its driver, which is libFuzzer or replay.c.
 *
 * A target is one file fuzz_<name>.c that defines LLVMFuzzerTestOneInput, asserts its property with
 * FUZZ_CHECK, and counts the inputs that got past the first checks in fuzz_accepted. A target that
 * knows the structure of its input may define LLVMFuzzerCustomMutator; replay.c uses it for half of
 * its mutations. */
#ifndef TERN_FUZZ_FUZZ_H
#define TERN_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Weak, so that the target links with either driver. */
__attribute__((weak)) unsigned long fuzz_accepted;

#define FUZZ_CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

#endif
