/* Panels and tables of five ternary codes a byte; fives.h says what they are. */
#include "kernel/fives.h"

#include "kernel/avx512/lanes.h"

enum { WIDEST = 32768 };   /* columns of which a row's codes fit on a thread's stack */

/* Codes of 128 columns, in order; a row's last 128 may be fewer. */
TERN_INLINE void codes_128(uint8_t code[128], tern_type t, const uint8_t *row, size_t k, size_t K)
{
    if (t == TERN_TYPE_i2_s) {
        __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)(row + k / 4));
        for (int i = 0; i < 4; i++)
            _mm256_store_si256((__m256i *)(void *)(code + 32 * i),
                               _mm256_and_si256(_mm256_srli_epi16(raw, 6 - 2 * i), _mm256_set1_epi8(3)));
        return;
    }
    for (size_t j = 0; j < 128; j++) code[j] = k + j < K ? row[(k + j) / 4] >> j % 4 * 2 & 3 : 1;
}

/* 64 bytes of groups from g on: the digits' codes to index and sign. */
TERN_INLINE __m512i five(const uint8_t *code, size_t G)
{
    __m512i v = _mm512_loadu_si512(code + 4 * G);
    TERN_UNROLL
    for (size_t k = 4; k-- > 0;)
        v = _mm512_add_epi8(_mm512_add_epi8(_mm512_add_epi8(v, v), v), _mm512_loadu_si512(code + k * G));
    __mmask64 above = _mm512_cmpgt_epu8_mask(v, _mm512_set1_epi8(121));
    v = _mm512_mask_sub_epi8(v, above, _mm512_set1_epi8((char)242), v);
    return _mm512_or_si512(v, _mm512_and_si512(_mm512_movm_epi8(above), _mm512_set1_epi8((char)0x80)));
}

/* (16,16) bytes, rows `from` apart, transposed to rows `to` apart. */
TERN_INLINE void transpose_16(uint8_t *dst, size_t to, const uint8_t *src, size_t from)
{
    __m128i a[16], b[16];
    TERN_UNROLL
    for (size_t i = 0; i < 16; i++) a[i] = _mm_loadu_si128((const __m128i *)(const void *)(src + i * from));
    TERN_UNROLL
    for (int i = 0; i < 8; i++) b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]), b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    TERN_UNROLL
    for (int i = 0; i < 8; i++) a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]), a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    TERN_UNROLL
    for (int i = 0; i < 8; i++) b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]), b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    TERN_UNROLL
    for (int i = 0; i < 8; i++) a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]), a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    TERN_UNROLL
    for (size_t i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(void *)(dst + i * to), a[i]);
}

bool tern_fives_possible(const tern_matrix *w)
{
    const size_t bytes = tern_row_size(w->type, w->K) * w->N;
    const uint8_t *p = w->rows;
    if (w->K > WIDEST) return false;
    __m512i any = _mm512_setzero_si512();
    size_t  i = 0;
    for (; i + 64 <= bytes; i += 64) {
        __m512i v = _mm512_loadu_si512(p + i);
        any = _mm512_or_si512(any, _mm512_and_si512(v, _mm512_srli_epi16(v, 1)));
    }
    if (i < bytes) {
        __m512i v = _mm512_maskz_loadu_epi8(((__mmask64)1 << (bytes - i)) - 1, p + i);
        any = _mm512_or_si512(any, _mm512_and_si512(v, _mm512_srli_epi16(v, 1)));
    }
    return _mm512_test_epi8_mask(any, _mm512_set1_epi8(0x55)) == 0;
}

/* The bytes (G) of one row; returns how many have bit 7. */
static int32_t one_row(const tern_matrix *w, size_t n, uint8_t *out)
{
    const size_t   K = w->K, G = tern_fives_groups(K);
    const uint8_t *row = (const uint8_t *)w->rows + n * tern_row_size(w->type, K);
    _Alignas(64) uint8_t code[WIDEST + 256];
    int32_t negative = 0;
    for (size_t k = 0; k < K; k += 128) codes_128(code + k, w->type, row, k, K);
    memset(code + K, 1, (5 * G + 64) - K);
    for (size_t g = 0; g < G; g += 64) {
        __mmask64 there = G - g < 64 ? ((__mmask64)1 << (G - g)) - 1 : ~(__mmask64)0;
        __m512i v = five(code + g, G);
        negative += __builtin_popcountll(_mm512_movepi8_mask(v) & there);
        _mm512_mask_storeu_epi8(out + g, there, v);
    }
    return negative;
}

void tern_fives_pack(const tern_matrix *w, size_t panel, void *panels)
{
    enum { LONGEST = WIDEST / 5 + 64 };
    const size_t R = FIVES_ROWS, G = tern_fives_groups(w->K), n0 = panel * R, N = w->N - n0 < R ? w->N - n0 : R;
    const size_t P = tern_panels(w);
    int32_t *negative = (int32_t *)panels + panel * R;
    _Alignas(64) uint8_t row[16][LONGEST], turned[16][16];
    memset(negative, 0, R * 4);
    for (size_t r = 0; r < R; r += 16) {
        uint8_t *to = (uint8_t *)panels + r / 64 * 64 + tern_fives_at(r % 64);
        for (size_t i = 0; i < 16; i++) {
            if (r + i < N) negative[r + i] = one_row(w, n0 + r + i, row[i]);
            else memset(row[i], 121, G);   /* five zeros */
        }
        for (size_t g = 0; g < G; g += 16) {
            transpose_16(turned[0], 16, row[0] + g, LONGEST);
            uint8_t *at = to + tern_fives_offset(P, G, panel, g / FIVES_CHUNK * FIVES_CHUNK) + g % FIVES_CHUNK * R;
            for (size_t i = 0; i < 16 && g + i < G; i++) {   /* rows 8 apart stand 16 bytes apart */
                memcpy(at + i * R, turned[i], 8);
                memcpy(at + i * R + 16, turned[i] + 8, 8);
            }
        }
    }
}

/* Digit k of index i. */
#define DIGIT(i, k) ((i) > 121 ? 1 : (k) == 0 ? (i) % 3 : (k) == 1 ? (i) / 3 % 3 : (k) == 2 ? (i) / 9 % 3 : (k) == 3 ? (i) / 27 % 3 : (i) / 81)
#define PAIR4(i, k, l) DIGIT(i, k), DIGIT(i, l), DIGIT((i) + 1, k), DIGIT((i) + 1, l), DIGIT((i) + 2, k), DIGIT((i) + 2, l), DIGIT((i) + 3, k), DIGIT((i) + 3, l)
#define PAIR32(i, k, l) PAIR4(i, k, l), PAIR4(i + 4, k, l), PAIR4(i + 8, k, l), PAIR4(i + 12, k, l), PAIR4(i + 16, k, l), PAIR4(i + 20, k, l), \
    PAIR4(i + 24, k, l), PAIR4(i + 28, k, l)
#define PAIRS(k, l) { { PAIR32(0, k, l) }, { PAIR32(32, k, l) }, { PAIR32(64, k, l) }, { PAIR32(96, k, l) } }

/* Codes of two digits side by side for 32 indices; the last pair's second is a digit that activations of zero meet. */
static const _Alignas(64) uint8_t pairs[3][4][64] = { PAIRS(0, 1), PAIRS(2, 3), PAIRS(4, 4) };

/* The low or the high bytes of 64 int16. */
static const _Alignas(64) uint8_t low_bytes[64] = {
    0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62,
    64, 66, 68, 70, 72, 74, 76, 78, 80, 82, 84, 86, 88, 90, 92, 94, 96, 98, 100, 102, 104, 106, 108, 110, 112, 114, 116, 118, 120,
    122, 124, 126,
};

void tern_fives_tables(tern_act *a, size_t begin, size_t end)
{
    const size_t  G = tern_fives_groups(a->K), B = a->M;   /* at most four rows: one block */
    const __m512i low = _mm512_load_si512(low_bytes), high = _mm512_add_epi8(low, _mm512_set1_epi8(1));
    for (size_t m = begin; m < end; m++) {
        uint8_t *out = a->table + m * G * FIVES_TABLE;
        for (size_t g = 0; g < G; g++, out += FIVES_TABLE) {
            uint8_t x[5];
            int     sum = 0;
            for (size_t k = 0; k < 5; k++) {
                const size_t c = k * G + g;
                int8_t v = a->q[c / 4 * 4 * B + m * 4 + c % 4];
                x[k] = (uint8_t)v;
                sum += v;
            }
            const __m512i x01 = _mm512_set1_epi16((int16_t)(x[0] | x[1] << 8)), x23 = _mm512_set1_epi16((int16_t)(x[2] | x[3] << 8));
            const __m512i x4 = _mm512_set1_epi16(x[4]), all = _mm512_set1_epi16((int16_t)sum);
            __m512i t[4];
            TERN_UNROLL
            for (int i = 0; i < 4; i++) {
                __m512i v = _mm512_add_epi16(_mm512_maddubs_epi16(_mm512_load_si512(pairs[0][i]), x01),
                                             _mm512_maddubs_epi16(_mm512_load_si512(pairs[1][i]), x23));
                t[i] = _mm512_sub_epi16(_mm512_add_epi16(v, _mm512_maddubs_epi16(_mm512_load_si512(pairs[2][i]), x4)), all);
            }
            TERN_UNROLL
            for (int i = 0; i < 2; i++) {
                _mm512_store_si512(out + 64 * i, _mm512_permutex2var_epi8(t[2 * i], low, t[2 * i + 1]));
                _mm512_store_si512(out + 128 + 64 * i, _mm512_permutex2var_epi8(t[2 * i], high, t[2 * i + 1]));
            }
        }
    }
}
