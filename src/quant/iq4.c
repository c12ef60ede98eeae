/* The values of the iq4 types and the search for their step; the table is ggml's, part of the file format. */
#include "quant/iq4.h"

#include <math.h>

const int8_t tern_iq4_value[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

int tern_iq4_nearest(float x)
{
    int i = 0;
    while (i < 15 && x >= (float)tern_iq4_value[i + 1]) i++;   /* value[i] <= x < value[i+1], but for the ends */
    if (i == 15) return 15;
    return x - (float)tern_iq4_value[i] < (float)tern_iq4_value[i + 1] - x ? i : i + 1;
}

float tern_iq4_search(const float *x, const float *weight)
{
    float most = 0, peak = 0, step = 0, best = 0;
    for (int j = 0; j < 32; j++)
        if (fabsf(x[j]) > most) {
            most = fabsf(x[j]);
            peak = x[j];
        }
    if (most < 1e-15f) return 0;
    /* First the extreme on +127, outside the table on that side; then on -134 ... -120. */
    for (int attempt = 0; attempt < 16; attempt++) {
        float inverse = attempt == 0 ? 1 / (-peak / (float)tern_iq4_value[0])
                                     : (float)(attempt - 8 + tern_iq4_value[0]) / peak;
        float xq = 0, qq = 0;
        for (int j = 0; j < 32; j++) {
            float q = (float)tern_iq4_value[tern_iq4_nearest(inverse * x[j])];
            xq += weight[j] * q * x[j];
            qq += weight[j] * q * q;
        }
        if (attempt > 0 && !(qq > 0 && xq * xq > best * qq)) continue;
        step = qq > 0 ? xq / qq : 0;
        best = step * xq;
    }
    return step;
}
