#include "kernel/avx512_bf16/fives_tile.h"

void tern_tile_i2_s_avx512_bf16(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                      size_t begin, size_t end, float *y, size_t ldy)
{
    tile_fives(w, n0, rows, a, begin, end, y, ldy);
}
