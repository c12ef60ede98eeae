/* Sixteen lanes of 64 bits. A lane takes a word x in by  s = s ^ x,  s = low32(s) * M + high32(s): Marsaglia's multiply
 * with carry, a multiplication modulo M 2^32 - 1, so that no change of a single word is lost. The step is a product of
 * 32 bits, a shift, an addition and an exclusive or: vector instructions of every processor have them.
 * Data is cut at multiples of PIECE, pieces are taken in as threads become free, and their sums, which know their
 * place, are added. */
#include "base/checksum.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { LANES = 16, STRIPE = LANES * 8, PIECE = 1 << 20 };
static const uint32_t M = 0xfffeb81b;   /* M 2^32 - 1 and M 2^31 - 1 are prime */

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

uint64_t tern_checksum_join(uint64_t a, uint64_t b) { return mix(a + UINT64_C(0x9e3779b97f4a7c15) + mix(b)); }

#if defined(__SSE2__)   /* written out: gcc 12 leaves the loop below as it is, at half the speed */
static void take(uint64_t s[LANES], const uint8_t *p, size_t stripes)
{
    const __m128i m = _mm_set1_epi64x(M);
    __m128i acc[LANES / 2];
    memcpy(acc, s, sizeof acc);
    for (; stripes > 0; stripes--, p += STRIPE)
        for (int i = 0; i < LANES / 2; i++) {
            __m128i x = _mm_xor_si128(acc[i], _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)));
            acc[i] = _mm_add_epi64(_mm_mul_epu32(x, m), _mm_srli_epi64(x, 32));
        }
    memcpy(s, acc, sizeof acc);
}
#else
static void take(uint64_t s[LANES], const uint8_t *p, size_t stripes)
{
    for (; stripes > 0; stripes--, p += STRIPE) {
        uint64_t x[LANES];
        memcpy(x, p, STRIPE);
        for (int i = 0; i < LANES; i++) {
            x[i] ^= s[i];
            s[i] = (x[i] & 0xffffffff) * M + (x[i] >> 32);
        }
    }
}
#endif

static uint64_t piece_sum(const uint8_t *p, size_t n, uint64_t place)
{
    uint64_t s[LANES], h = mix(place + 1) + n;
    uint8_t  rest[STRIPE] = { 0 };
    for (int i = 0; i < LANES; i++) s[i] = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
    take(s, p, n / STRIPE);
    if (n % STRIPE) {
        memcpy(rest, p + n / STRIPE * STRIPE, n % STRIPE);
        take(s, rest, 1);
    }
    for (int i = 0; i < LANES; i++) h = tern_checksum_join(h, s[i]);
    return h;
}

typedef struct job {
    const uint8_t *data;
    size_t         size;
    _Atomic uint64_t sum;
} job;

static void pieces(void *arg, size_t begin, size_t end)
{
    job     *j = arg;
    uint64_t sum = 0;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * PIECE, n = j->size - at < PIECE ? j->size - at : PIECE;
        sum += piece_sum(j->data + at, n, i);
    }
    atomic_fetch_add(&j->sum, sum);
}

uint64_t tern_checksum(tern_pool *pool, const void *data, size_t size)
{
    job    j = { .data = data, .size = size };
    size_t n = size / PIECE + (size % PIECE != 0);
    if (pool && n > 1) tern_pool_for(pool, n, 1, pieces, &j);
    else pieces(&j, 0, n);
    return mix(j.sum + size);
}
