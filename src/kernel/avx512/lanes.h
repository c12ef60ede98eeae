/* What the tiles of this level share: sixteen 32-bit lanes, lane r one weight row. */
#ifndef TERN_KERNEL_AVX512_LANES_H
#define TERN_KERNEL_AVX512_LANES_H

#include "kernel/panel.h"

#include <immintrin.h>
#include <string.h>

/* Call body(M, S) for blocks of activation rows, S four times the rows of the block: whole blocks at once, with M a
 * constant in 1..8, so that every M has its own code in which all loops over M are taken apart; single rows where
 * [begin,end) cuts a block. */
#define TERN_BLOCKS_OF_8(a, begin, end, m, body) \
    for (size_t m = (begin), rows_; m < (end); m += rows_) { \
        rows_ = tern_act_block((a), m); \
        if (m % 8 != 0 || (end) - m < rows_) { \
            body(1, 4 * rows_); \
            rows_ = 1; \
            continue; \
        } \
        switch (rows_) { \
        case 1: body(1, 4); break; \
        case 2: body(2, 8); break; \
        case 3: body(3, 12); break; \
        case 4: body(4, 16); break; \
        case 5: body(5, 20); break; \
        case 6: body(6, 24); break; \
        case 7: body(7, 28); break; \
        default: body(8, 32); \
        } \
    }

/* Prompts: a slab of 256 columns of a panel is taken apart once, into bytes that stay in the first-level cache, and blocks
 * of eight activation rows pass over it; what they have added up waits in memory from slab to slab. One pass takes at
 * most SLAB_ROWS rows, and fewer than two blocks are not worth it. */
enum { SLAB_COLUMNS = 256, SLAB_ROWS = 256, SLAB_WORTH = 16 };

/* Of [begin,end), the rows that a pass over slabs takes: whole blocks of eight, 0 when it is not worth it. */
TERN_INLINE size_t slab_rows(size_t begin, size_t end)
{
    size_t n = end - begin < SLAB_ROWS ? (end - begin) & ~(size_t)7 : SLAB_ROWS;
    return begin % 8 == 0 && n >= SLAB_WORTH ? n : 0;
}
/* Fetch `bytes` of what the next block of rows will read. */
TERN_INLINE void next_rows(const int8_t *p, size_t bytes)
{
    TERN_UNROLL
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T0);
}

/* What the passes over one slab fetch of the next, which lies behind it: `step` bytes each. A prompt's weights come from memory,
 * and taking them apart has too little in flight to hide that. */
typedef struct slab_ahead {
    const uint8_t *at, *end;
    size_t         step;
} slab_ahead;

TERN_INLINE slab_ahead slab_ahead_of(const uint8_t *p, size_t bytes, size_t passes)
{
    return (slab_ahead){ p, p + bytes, ((bytes + passes - 1) / passes + 63) & ~(size_t)63 };
}

TERN_INLINE void fetch_ahead(slab_ahead *s)
{
    const uint8_t *to = s->at + s->step;
    for (; s->at < to && s->at < s->end; s->at += 64) _mm_prefetch((const char *)s->at, _MM_HINT_T0);
}

TERN_INLINE __m512i column(const uint8_t *p, size_t i) { return _mm512_load_si512((const void *)(p + 64 * i)); }
TERN_INLINE __m512i four(const void *p)       /* four bytes to every lane */
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}
TERN_INLINE __m512 halves(const uint8_t *p)   /* sixteen half floats */
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)p));
}
/* acc + sum over the four bytes of a lane of w (unsigned) * a (signed). */
TERN_INLINE __m512i dot4(__m512i acc, __m512i w, __m512i a) { return _mm512_dpbusd_epi32(acc, w, a); }

struct tern_four { int8_t byte[4]; };

/* The same with the four bytes at p in every lane. Written out, for gcc 12 does not fold the broadcast into the
 * instruction, and then the front end, not the multipliers, is the limit. */
TERN_INLINE __m512i dot4_at(__m512i acc, __m512i w, const int8_t *p)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const struct tern_four *)(const void *)p));
    return acc;
}
/* Fetch `bytes` that a stream of weights will need, where tern_fetch_ahead() says so: one activation row leaves a tile
 * waiting for memory, and some processors' own prefetching stops at pages and runs late under load. */
TERN_INLINE void ahead(const uint8_t *p, size_t bytes)
{
    TERN_UNROLL
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i + 4096, _MM_HINT_T0);
}

/* acc + sum over the two 16-bit numbers of a lane of w * those at p. */
TERN_INLINE __m512i dot2_at(__m512i acc, __m512i w, const int16_t *p)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const struct tern_four *)(const void *)p));
    return acc;
}

TERN_INLINE __m512i low4(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
TERN_INLINE __m512i high4(__m512i v) { return low4(_mm512_srli_epi16(v, 4)); }
/* v shifted left by s bits (right when negative) within bytes, as far as the mask that must follow reaches. */
TERN_INLINE __m512i shifted(__m512i v, int s)
{
    return s > 0 ? _mm512_slli_epi16(v, (unsigned)s) : s < 0 ? _mm512_srli_epi16(v, (unsigned)-s) : v;
}
/* a | (b & mask) */
TERN_INLINE __m512i or_masked(__m512i a, __m512i b, __m512i mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }

#endif
