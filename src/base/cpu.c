#include "base/cpu.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

const char *const tern_isa_name[TERN_ISA_COUNT] = {
    [TERN_ISA_SCALAR] = "scalar",   [TERN_ISA_AVX2] = "avx2",
    [TERN_ISA_AVX2_VNNI] = "avx2_vnni", [TERN_ISA_AVX512] = "avx512",
    [TERN_ISA_AVX512_BF16] = "avx512_bf16", [TERN_ISA_NEON_DOT] = "neon_dot",
    [TERN_ISA_NEON_I8MM] = "neon_i8mm",
};

#if defined(__x86_64__)
#include <cpuid.h>

/* cpuid directly: clang 14 rejects __builtin_cpu_supports("f16c"). Bits: Intel SDM volume 2A, CPUID. */
static bool supported(tern_isa isa)
{
    unsigned a, b, c, d, b7, c7, d7, a71;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
    bool osxsave = c >> 27 & 1, fma = c >> 12 & 1, f16c = c >> 29 & 1, avx = c >> 28 & 1;
    if (!osxsave || !avx) return false;
    uint32_t xlo, xhi;
    __asm__ volatile("xgetbv" : "=a"(xlo), "=d"(xhi) : "c"(0));
    bool ymm = (xlo & 0x06) == 0x06, zmm = (xlo & 0xe6) == 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return false;
    unsigned subleaves = a;
    a71 = 0;
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) a71 = a;

    bool avx2   = ymm && fma && f16c && (b7 >> 5 & 1);
    bool avx512 = avx2 && zmm && (b7 >> 16 & 1) && (b7 >> 30 & 1) && (b7 >> 17 & 1) && (b7 >> 31 & 1) && (c7 >> 11 & 1);
    switch (isa) {
    case TERN_ISA_AVX2: return avx2;
    case TERN_ISA_AVX2_VNNI: return avx2 && (a71 >> 4 & 1);
    case TERN_ISA_AVX512: return avx512;
    case TERN_ISA_AVX512_BF16: return avx512 && (c7 >> 1 & 1) && (a71 >> 5 & 1);
    default: return false;
    }
}
#elif defined(__aarch64__)
/* Bits: arch/arm64/include/uapi/asm/hwcap.h, the kernel's user interface. */
static bool supported(tern_isa isa)
{
    unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    bool dot = (cap >> 20 & 1) && (cap >> 10 & 1) && (cap >> 9 & 1);   /* ASIMDDP, ASIMDHP, FPHP */
    switch (isa) {
    case TERN_ISA_NEON_DOT: return dot;
    case TERN_ISA_NEON_I8MM: return dot && (cap2 >> 13 & 1);
    default: return false;
    }
}
#else
static bool supported(tern_isa isa) { (void)isa; return false; }
#endif

static atomic_int forced = TERN_ISA_COUNT, ceiling = -1, levels;   /* levels: a bit each, 0: not asked yet */

/* Asked once: under a hypervisor every cpuid is a trap, longer than a small operation. */
bool tern_isa_supported(tern_isa isa)
{
    int known = atomic_load_explicit(&levels, memory_order_relaxed);
    if (known == 0) {
        known = 1 << TERN_ISA_SCALAR;
        for (int i = 0; i < TERN_ISA_COUNT; i++)
            if (supported((tern_isa)i)) known |= 1 << i;
        atomic_store_explicit(&levels, known, memory_order_relaxed);
    }
    return known >> (int)isa & 1;
}

/* TERN_ISA names the highest level that may be used. */
static int limit(void)
{
    int f = atomic_load(&forced), c = atomic_load(&ceiling);
    if (f != TERN_ISA_COUNT) return f;
    if (c >= 0) return c;
    const char *name = getenv("TERN_ISA");
    c = TERN_ISA_COUNT - 1;
    if (name && *name) {
        c = TERN_ISA_SCALAR;
        for (int i = 0; i < TERN_ISA_COUNT; i++)
            if (strcmp(name, tern_isa_name[i]) == 0 && tern_isa_supported((tern_isa)i)) c = i;
    }
    atomic_store(&ceiling, c);
    return c;
}

bool tern_isa_enabled(tern_isa isa)
{
    int top = limit();
    /* A processor may have AVX-512 without AVX-VNNI: the forms differ, so forcing avx512 skips avx2_vnni only
     * where the processor lacks it. */
    return (int)isa <= top && tern_isa_supported(isa);
}

tern_isa tern_isa_best(void)
{
    for (int i = TERN_ISA_COUNT - 1; i > 0; i--)
        if (tern_isa_enabled((tern_isa)i)) return (tern_isa)i;
    return TERN_ISA_SCALAR;
}

void tern_isa_force(tern_isa isa) { atomic_store(&forced, (int)isa); }
