#include "kernel/avx512_bf16/fives_tile.h"

void tern_tile_t2_avx512_bf16(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                      size_t begin, size_t end, float *y, size_t ldy)
{
    tile_fives(w, n0, rows, a, begin, end, y, ldy);
}
