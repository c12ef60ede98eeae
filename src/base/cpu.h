/* Instruction-set levels. A level promises exactly the flags that its kernel folder is compiled with. */
#ifndef TERN_BASE_CPU_H
#define TERN_BASE_CPU_H

#include <stdbool.h>

typedef enum tern_isa {
    TERN_ISA_SCALAR,       /* the reference; always there                                   */
    TERN_ISA_AVX2,         /* avx2 fma f16c                                                 */
    TERN_ISA_AVX2_VNNI,    /* + avxvnni                                                     */
    TERN_ISA_AVX512,       /* avx2's + avx512 f bw dq vl vnni                               */
    TERN_ISA_AVX512_BF16,  /* + avx512 vbmi bf16                                            */
    TERN_ISA_NEON_DOT,     /* armv8.2-a + dotprod fp16                                      */
    TERN_ISA_NEON_I8MM,    /* + i8mm                                                        */
    TERN_ISA_COUNT
} tern_isa;

extern const char *const tern_isa_name[TERN_ISA_COUNT];   /* "scalar", "avx2", ... */

/* Whether this processor has the level, whatever TERN_ISA says. */
bool tern_isa_supported(tern_isa isa);
/* Whether cells of this level may be used now: supported, and not above the level that the environment
 * variable TERN_ISA names (read once; a name that is unknown or unsupported leaves only scalar).
 * Levels of an architecture are ordered; each includes the ones before it. */
bool tern_isa_enabled(tern_isa isa);
/* The highest enabled level. */
tern_isa tern_isa_best(void);
/* For tests: act as if TERN_ISA were `isa`; pass TERN_ISA_COUNT to return to the environment's. */
void tern_isa_force(tern_isa isa);

#endif
