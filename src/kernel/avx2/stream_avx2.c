/* stream.h with AVX2: two bytes of products fit 16 bits, for codes are at most 3. */
#include "kernel/panel.h"
#include "kernel/stream.h"

#include <immintrin.h>
#include <string.h>

TERN_INLINE __m256i half(const uint8_t *p) { return _mm256_load_si256((const __m256i *)(const void *)p); }
TERN_INLINE __m256i codes(__m256i raw, int i) { return _mm256_and_si256(_mm256_srli_epi16(raw, 2 * i), _mm256_set1_epi8(3)); }
TERN_INLINE __m256i dot4(__m256i acc, __m256i w, __m256i a)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1)));
}
TERN_INLINE __m256i four(const void *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

static void dots(int32_t *sum, const uint8_t *row, size_t plane, size_t lines, const int8_t *q, size_t ldq, int M)
{
    for (int m = 0; m < M; m++) {
        const int8_t *a = q + (size_t)m * ldq;
        __m256i s = _mm256_setzero_si256();
        for (size_t l = 0; l < 2 * lines; l++) {   /* halves of a line */
            __m256i raw = half(row + l / 2 * plane + l % 2 * 32);
            TERN_UNROLL
            for (int i = 0; i < 4; i++) {
                const int8_t *p = a + l / 2 * 256 + 64 * (size_t)i + l % 2 * 32;
                s = dot4(s, codes(raw, i), _mm256_loadu_si256((const __m256i *)(const void *)p));
            }
        }
        __m128i x = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
        x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1));
        sum[m] = _mm_cvtsi128_si32(x);
    }
}

/* Bytes of four rows side by side: dword d of 128-bit lane L of part t holds byte 16 L + 4 t + d of each. */
TERN_INLINE void side_by_side(__m256i part[4], const uint8_t *const row[4], size_t at)
{
    __m256i a = half(row[0] + at), b = half(row[1] + at), c = half(row[2] + at), d = half(row[3] + at);
    __m256i ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b);
    __m256i cd0 = _mm256_unpacklo_epi8(c, d), cd1 = _mm256_unpackhi_epi8(c, d);
    part[0] = _mm256_unpacklo_epi16(ab0, cd0);
    part[1] = _mm256_unpackhi_epi16(ab0, cd0);
    part[2] = _mm256_unpacklo_epi16(ab1, cd1);
    part[3] = _mm256_unpackhi_epi16(ab1, cd1);
}

/* acc of a line: (2 halves, 4 parts, 4 shifts, 8 lanes). */
static void add(int32_t *acc, size_t lda, const uint8_t *const row[TERN_STREAM_STEP], size_t plane, const int8_t (*a)[TERN_STREAM_STEP],
                size_t from, size_t to, int M)
{
    for (size_t l = 2 * from; l < 2 * to; l++) {
        __m256i low[4], high[4];
        side_by_side(low, row, l / 2 * plane + l % 2 * 32);
        side_by_side(high, row + 4, l / 2 * plane + l % 2 * 32);
        for (int m = 0; m < M; m++) {
            const __m256i a0 = four(a[m]), a1 = four(a[m] + 4);
            int32_t *to_acc = acc + (size_t)m * lda + 128 * l;
            TERN_UNROLL
            for (int t = 0; t < 4; t++)
                TERN_UNROLL
                for (int i = 0; i < 4; i++) {
                    __m256i *p = (__m256i *)(void *)(to_acc + 32 * t + 8 * i);
                    __m256i two = _mm256_add_epi16(_mm256_maddubs_epi16(codes(low[t], i), a0), _mm256_maddubs_epi16(codes(high[t], i), a1));
                    _mm256_store_si256(p, _mm256_add_epi32(_mm256_load_si256(p), _mm256_madd_epi16(two, _mm256_set1_epi16(1))));
                }
        }
    }
}

static void read(int32_t *out, const int32_t *acc)
{
    for (int h = 0; h < 2; h++)
        for (int t = 0; t < 4; t++)
            for (int i = 0; i < 4; i++)
                for (int lane = 0; lane < 2; lane++)
                    for (int d = 0; d < 4; d++) out[64 * i + 32 * h + 16 * lane + 4 * t + d] = acc[128 * h + 32 * t + 8 * i + 4 * lane + d];
}

const tern_stream_ops tern_stream_avx2 = { dots, add, read };
