/* TensorBoard event files: records of a protobuf message.
 *
 *   u64 size, u32 masked crc of it, data, u32 masked crc of data      (little endian; TFRecord)
 *   Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
 *   Summary { repeated Value value = 1; }   Value { string tag = 1; float simple_value = 2; }
 *   SessionLog { status = 1; }   START = 1
 * Source: tensorflow/core/util/event.proto, framework/summary.proto, lib/io/record_writer. The crc is CRC-32C, turned by 15
 * bits and added 0xa282ead8. */
#include "observe/curves.h"

#include <string.h>

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int b = 0; b < 8; b++) c = c >> 1 ^ (0x82f63b78u & (0u - (c & 1)));
    }
    return ~c;
}

static uint8_t *put_fixed(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7) n++;
    return n;
}

static uint8_t *put_masked(uint8_t *p, const uint8_t *data, size_t n)
{
    uint32_t c = crc32c(data, n);
    return put_fixed(p, (c >> 15 | c << 17) + 0xa282ead8u, 4);
}

enum { HEAD = 12, FOOT = 4 };

static uint8_t *put_time(uint8_t *p, double wall, uint64_t step)
{
    uint64_t bits;
    memcpy(&bits, &wall, sizeof bits);
    *p++ = 0x09;
    p = put_fixed(p, bits, 8);
    if (!step) return p;   /* proto3 leaves zeros out */
    *p++ = 0x10;
    return put_varint(p, step);
}

/* The frame around what lies from record + HEAD to `end`; its size. */
static size_t frame(uint8_t *record, uint8_t *end)
{
    size_t n = (size_t)(end - record) - HEAD;
    put_fixed(record, n, 8);
    put_masked(record + 8, record, 8);
    end = put_masked(end, record + HEAD, n);
    return (size_t)(end - record);
}

size_t tern_event_version(uint8_t *data, double wall)
{
    static const char version[] = "brain.Event:2";
    uint8_t *p = put_time(data + HEAD, wall, 0);
    *p++ = 0x1a;
    *p++ = sizeof version - 1;
    memcpy(p, version, sizeof version - 1);
    return frame(data, p + sizeof version - 1);
}

size_t tern_event_start(uint8_t *data, double wall, uint64_t step)
{
    static const uint8_t start[] = { 0x3a, 2, 0x08, 1 };
    uint8_t *p = put_time(data + HEAD, wall, step);
    memcpy(p, start, sizeof start);
    return frame(data, p + sizeof start);
}

static size_t value_size(const tern_metric *m)
{
    size_t tag = strlen(m->name);
    return 1 + varint_size(tag) + tag + 5;
}

size_t tern_event_room(const tern_metric *m, size_t n)
{
    size_t size = TERN_EVENT_SMALL + FOOT;
    for (size_t i = 0; i < n; i++) size += 12 + value_size(&m[i]);
    return size;
}

size_t tern_event_scalars(uint8_t *data, double wall, uint64_t step, const tern_metric *m, size_t n)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++) all += 1 + varint_size(value_size(&m[i])) + value_size(&m[i]);
    uint8_t *p = put_time(data + HEAD, wall, step);
    *p++ = 0x2a;
    p = put_varint(p, all);
    for (size_t i = 0; i < n; i++) {
        size_t   tag = strlen(m[i].name);
        float    x = (float)m[i].value;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        *p++ = 0x0a;
        p = put_varint(p, value_size(&m[i]));
        *p++ = 0x0a;
        p = put_varint(p, tag);
        memcpy(p, m[i].name, tag);
        p += tag;
        *p++ = 0x15;
        p = put_fixed(p, bits, 4);
    }
    return frame(data, p);
}
