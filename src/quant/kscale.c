/* How q4_k and q5_k choose their scales, minima and codes. */
#include "quant/kscale.h"

#include "quant/round.h"

#include <string.h>

/* 6-bit codes: the largest becomes 63. Returns the step. */
static float scale_codes(const float *scale, uint8_t *code)
{
    float most = 0;
    for (int g = 0; g < 8; g++)
        if (scale[g] > most) most = scale[g];
    float inverse = most > 0 ? 63 / most : 0;
    for (int g = 0; g < 8; g++) code[g] = (uint8_t)tern_clamp(tern_nearest(inverse * scale[g]), 0, 63);
    return most / 63;
}

void tern_kscale_fit(const float *x, const float *importance, int top, tern_scan scan, uint8_t *scale, uint16_t *d,
                     uint16_t *m, uint8_t *q)
{
    float   v[256], step[8], minimum[8], total[8];
    uint8_t s[8], t[8];
    tern_finite_row(v, x, 256);
    float variance = importance ? 2 * tern_sum_squares(v, 256) / 256 : 0;
    for (int g = 0; g < 8; g++) {
        float w[32];
        const float *u = v + 32 * g;
        if (importance) {
            tern_weigh(w, importance + 32 * g, u, variance, 32);
        } else {
            float mean = sqrtf(tern_sum_squares(u, 32) / 32);
            for (int j = 0; j < 32; j++) w[j] = mean + fabsf(u[j]);
        }
        total[g] = 0;
        for (int j = 0; j < 32; j++) total[g] += w[j];
        step[g] = tern_search_affine(u, w, 32, top, importance ? tern_scan_weighted : scan, q + 32 * g, &minimum[g]);
    }
    *d = tern_step_f16(importance ? tern_search_positive(step, total, 8, 63, s) : scale_codes(step, s));
    *m = tern_step_f16(importance ? tern_search_positive(minimum, total, 8, 63, t) : scale_codes(minimum, t));

    memset(scale, 0, 12);
    for (int g = 0; g < 8; g++) {
        tern_kscale_put(scale, g, s[g], t[g]);
        float dg = tern_f16_to_f32(*d) * (float)s[g], mg = tern_f16_to_f32(*m) * (float)t[g];
        if (dg == 0) continue;   /* the codes of the fit stay */
        for (int j = 32 * g; j < 32 * g + 32; j++) q[j] = (uint8_t)tern_clamp(tern_nearest((v[j] + mg) / dg), 0, top);
    }
}
