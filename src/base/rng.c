#include "base/rng.h"

#include <math.h>

tern_philox tern_philox_at(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53 * c0, b = (uint64_t)0xcd9e8d57 * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
    return (tern_philox){ { c0, c1, c2, c3 } };
}

double tern_normal_at(uint64_t seed, uint64_t stream, uint64_t index)
{
    tern_philox p = tern_philox_at(seed, stream, index);
    double u = ((double)p.v[0] + 1) * 0x1p-32, v = (double)p.v[1] * 0x1p-32;   /* u in (0, 1] */
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}
