/* stream.h with AVX-512 VNNI. Codes are not shifted down: masked to bits 2 i, 2 i + 1 a byte is its code times 4^i, each i
 * has its own accumulator, and these are shifted once at the end. */
#include "kernel/avx512/lanes.h"
#include "kernel/stream.h"

TERN_INLINE __m512i mask_of(int i) { return _mm512_set1_epi8((char)(3 << 2 * i)); }

TERN_INLINE void dots_of(int M, int32_t *sum, const uint8_t *row, size_t plane, size_t lines, const int8_t *q, size_t ldq)
{
    __m512i acc[4][4];
    TERN_UNROLL
    for (int m = 0; m < M; m++)
        TERN_UNROLL
        for (int i = 0; i < 4; i++) acc[m][i] = _mm512_setzero_si512();
    for (size_t l = 0; l < lines; l++) {
        __m512i raw = _mm512_load_si512(row + plane * l);
        TERN_UNROLL
        for (int i = 0; i < 4; i++) {
            __m512i w = _mm512_and_si512(raw, mask_of(i));
            TERN_UNROLL
            for (int m = 0; m < M; m++)
                acc[m][i] = dot4(acc[m][i], w, _mm512_loadu_si512(q + (size_t)m * ldq + 256 * l + 64 * (size_t)i));
        }
    }
    TERN_UNROLL
    for (int m = 0; m < M; m++) {
        __m512i s = acc[m][0];
        TERN_UNROLL
        for (int i = 1; i < 4; i++) s = _mm512_add_epi32(s, _mm512_srai_epi32(acc[m][i], (unsigned)(2 * i)));
        sum[m] = _mm512_reduce_add_epi32(s);
    }
}

static void dots(int32_t *sum, const uint8_t *row, size_t plane, size_t lines, const int8_t *q, size_t ldq, int M)
{
    switch (M) {
    case 1: dots_of(1, sum, row, plane, lines, q, ldq); break;
    case 2: dots_of(2, sum, row, plane, lines, q, ldq); break;
    case 3: dots_of(3, sum, row, plane, lines, q, ldq); break;
    default: dots_of(4, sum, row, plane, lines, q, ldq);
    }
}

/* Bytes of four rows side by side: dword d of 128-bit lane L of part t holds byte 16 L + 4 t + d of each. */
TERN_INLINE void side_by_side(__m512i part[4], const uint8_t *const row[4], size_t at)
{
    __m512i a = _mm512_load_si512(row[0] + at), b = _mm512_load_si512(row[1] + at);
    __m512i c = _mm512_load_si512(row[2] + at), d = _mm512_load_si512(row[3] + at);
    __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    part[0] = _mm512_unpacklo_epi16(ab0, cd0);
    part[1] = _mm512_unpackhi_epi16(ab0, cd0);
    part[2] = _mm512_unpacklo_epi16(ab1, cd1);
    part[3] = _mm512_unpackhi_epi16(ab1, cd1);
}

/* acc of a line: (4 parts, 4 shifts, 16 lanes). */
static void add(int32_t *acc, size_t lda, const uint8_t *const row[TERN_STREAM_STEP], size_t plane, const int8_t (*a)[TERN_STREAM_STEP],
                size_t from, size_t to, int M)
{
    for (size_t l = from; l < to; l++) {
        __m512i low[4], high[4];
        side_by_side(low, row, plane * l);
        side_by_side(high, row + 4, plane * l);
        for (int m = 0; m < M; m++) {
            const __m512i a0 = four(a[m]), a1 = four(a[m] + 4);
            int32_t *to_acc = acc + (size_t)m * lda + 256 * l;
            TERN_UNROLL
            for (int t = 0; t < 4; t++)
                TERN_UNROLL
                for (int i = 0; i < 4; i++) {
                    int32_t *p = to_acc + 64 * t + 16 * i;
                    __m512i s = dot4(_mm512_load_si512(p), _mm512_and_si512(low[t], mask_of(i)), a0);
                    _mm512_store_si512(p, dot4(s, _mm512_and_si512(high[t], mask_of(i)), a1));
                }
        }
    }
}

static void read(int32_t *out, const int32_t *acc)
{
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 4; i++)
            for (int lane = 0; lane < 4; lane++)
                for (int d = 0; d < 4; d++) out[64 * i + 16 * lane + 4 * t + d] = acc[64 * t + 16 * i + 4 * lane + d] >> 2 * i;
}

const tern_stream_ops tern_stream_avx512 = { dots, add, read };
