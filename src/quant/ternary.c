/* Ternary weights: the scale and codes of BitNet b1.58 (Ma et al. 2024, section 2) and the way into the types that
 * hold them. */
#include "quant/ternary.h"

#include "quant/round.h"

static tern_pack_fn *const pack[TERN_TYPE_COUNT] = {
    [TERN_TYPE_tq1_0] = tern_pack_tq1_0,
    [TERN_TYPE_tq2_0] = tern_pack_tq2_0,
    [TERN_TYPE_i2_s]  = tern_pack_i2_s,
    [TERN_TYPE_t2]    = tern_pack_t2,
};

bool tern_type_is_ternary(tern_type t) { return t < TERN_TYPE_COUNT && pack[t]; }

double tern_abs_sum(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += fabs((double)tern_finite(x[i]));
    return sum;
}

float tern_ternary_mean(double abs_sum, uint64_t n)
{
    float mean = n ? (float)(abs_sum / (double)n) : 0;
    return mean > 1e-5f ? mean : 1e-5f;
}

float tern_ternary_absmean(const float *w, size_t n) { return tern_ternary_mean(tern_abs_sum(w, n), n); }

void tern_ternary_codes(int8_t *code, const float *w, float mean, size_t n)
{
    float inverse = tern_inverse(mean);
    for (size_t i = 0; i < n; i++) {   /* a half is rounded to zero, the even neighbour; 1.5 and more are cut anyway */
        const float t = tern_finite(w[i]) * inverse;
        code[i] = (int8_t)((t > 0.5f) - (t < -0.5f));
    }
}

void tern_ternary_pack(tern_type t, void *blocks, const int8_t *code, float scale, size_t n)
{
    pack[t](blocks, code, scale, n);
}

void tern_ternary_encode(tern_type t, void *blocks, const float *w, float mean, size_t n)
{
    const tern_type_traits *r = &tern_types[t];
    uint8_t *out = blocks;
    for (size_t i = 0, m; i < n; i += m, out += m / r->elems * r->bytes) {
        int8_t code[256];   /* the widest ternary block, and several narrower ones */
        m = n - i < 256 ? n - i : 256;
        tern_ternary_codes(code, w + i, mean, m);
        pack[t](out, code, mean, m);
    }
}

float tern_ternary_block(const float *x, int8_t code[256])
{
    float most = 0;
    for (int j = 0; j < 256; j++)
        if (fabsf(tern_finite(x[j])) > most) most = fabsf(tern_finite(x[j]));
    float inverse = tern_inverse(most);
    for (int j = 0; j < 256; j++) code[j] = (int8_t)tern_cut(roundf(tern_finite(x[j]) * inverse), -1, 1);
    return most;
}
