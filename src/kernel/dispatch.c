/* The table of cells, the choice among them, and the loops above a tile. */
#include "kernel/fives.h"

#include "base/error.h"

const tern_cell tern_cells[] = {
#define TERN_TYPE(id, gguf, dialect, elems, bytes, tail, act) \
    { #id " scalar", TERN_TYPE_##id, TERN_ISA_SCALAR, 16, TERN_PACKING_raw, tern_tile_scalar },
#include "quant/types.def"
#undef TERN_TYPE
#define TERN_LEVEL_avx2     TERN_ISA_AVX2
#define TERN_LEVEL_avx512   TERN_ISA_AVX512
#define TERN_LEVEL_avx512_bf16 TERN_ISA_AVX512_BF16
#define TERN_LEVEL_neon_dot TERN_ISA_NEON_DOT
#define TERN_LEVEL_neon_i8mm TERN_ISA_NEON_I8MM
#define TERN_CELL(type, isa, R, packing) \
    { #type " " #isa, TERN_TYPE_##type, TERN_LEVEL_##isa, R, TERN_PACKING_##packing, tern_tile_##type##_##isa },
#include "kernel/cells.def"
#undef TERN_CELL
};

const size_t tern_cell_count = TERN_COUNT(tern_cells);

/* fives: whether cells of that packing may be taken. */
static const tern_cell *find(tern_type type, bool fives)
{
    const tern_cell *best = NULL;
    if (tern_types[type].act == TERN_ACT_convert) return NULL;
    for (size_t i = 0; i < tern_cell_count; i++) {
        const tern_cell *c = &tern_cells[i];
        if (c->type == type && tern_isa_enabled(c->isa) && (fives || c->packing != TERN_PACKING_fives)) best = c;
    }
    return best;
}

const tern_cell *tern_cell_find(tern_type type) { return find(type, false); }

tern_act_kind tern_cell_act(const tern_cell *c)
{
    if (c->type == TERN_TYPE_bf16 && c->isa == TERN_ISA_AVX512_BF16) return TERN_ACT_bf16;
    return c->packing == TERN_PACKING_fives ? TERN_ACT_a8_fives : tern_types[c->type].act;
}

const tern_cell *tern_matrix_cell(const tern_matrix *w)
{
    const tern_cell *c = find(w->type, true);
#if defined(__x86_64__)
    if (c && c->packing == TERN_PACKING_fives && w->rows && !tern_fives_possible(w)) return tern_cell_find(w->type);
#endif
    return c;
}

/* The younger level stands for processors whose own prefetching keeps up. */
bool tern_fetch_ahead(void) { return !tern_isa_supported(TERN_ISA_AVX512_BF16); }

size_t tern_panels(const tern_matrix *w) { return (w->N + w->cell->R - 1) / w->cell->R; }

size_t tern_panel_bytes(const tern_cell *c, size_t K)
{
    switch (c->packing) {
    case TERN_PACKING_columns: return (tern_panel_row_bytes(c->type, K) * c->R + 63) & ~(size_t)63;
    case TERN_PACKING_fives: return c->R * (4 + tern_fives_groups(K));
    default: return 0;
    }
}

/* Activation rows that stay in the second-level cache while panels pass: 384 KiB of its usual 1 MiB or more, and
 * never fewer than a tile's block. Tiles of floats pass 256 columns of all rows at a time. */
size_t tern_matmul_rows(const tern_act *a)
{
    if (a->kind == TERN_ACT_none || a->kind == TERN_ACT_bf16) return 256;
    size_t rows = ((size_t)384 << 10) / (a->ldq + 1) & ~(size_t)7;
    return rows < 8 ? 8 : rows;
}

void tern_matmul_panels(const tern_matrix *w, const tern_act *a, float *y, size_t ldy,
                        size_t panel_begin, size_t panel_end, size_t m_begin, size_t m_end)
{
    const tern_cell *c = w->cell;
    const size_t R = c->R, size = tern_panel_bytes(c, w->K), step = tern_matmul_rows(a);
    tern_tile_fn *tile = c->packing != TERN_PACKING_raw && !w->panels ? tern_tile_scalar : c->tile;
    for (size_t m = m_begin; m < m_end; m += step) {
        size_t top = m_end - m < step ? m_end : m + step;
        if (c->packing == TERN_PACKING_fives && w->panels && panel_begin < panel_end) {   /* its panels are multiplied together */
            size_t n0 = panel_begin * R, n1 = panel_end * R < w->N ? panel_end * R : w->N;
            tile(w, w->panels, n0, n1 - n0, a, m, top, y + n0, ldy);
            continue;
        }
        for (size_t p = panel_begin; p < panel_end; p++) {
            size_t n0 = p * R, rows = w->N - n0 < R ? w->N - n0 : R;
            const void *panel = w->panels && size ? (const uint8_t *)w->panels + p * size : NULL;
            tile(w, panel, n0, rows, a, m, top, y + n0, ldy);
        }
    }
}

static tern_act_quantize_fn *quantizer(tern_act_kind kind)
{
#if defined(__x86_64__)
    if (tern_isa_enabled(TERN_ISA_AVX512)) return tern_act_quantize_avx512;
    if (tern_isa_enabled(TERN_ISA_AVX2) && kind != TERN_ACT_bf16) return tern_act_quantize_avx2;   /* no cell of it wants bf16 */
#endif
    return tern_act_quantize_scalar;
}

void tern_act_quantize(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end)
{
    if (a->kind == TERN_ACT_none || a->kind == TERN_ACT_convert) {
        a->f   = x;
        a->ldf = ldx;
        return;
    }
    quantizer(a->kind)(a, x, ldx, begin, end);
#if defined(__x86_64__)
    if (a->table) tern_fives_tables(a, begin, end);
#endif
}
