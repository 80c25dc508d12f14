// RAMBIT_WIDE before a function with a plain loop compiles it for several widths: one binary serves every x86-64
// machine and still uses the wide registers of the one it runs on. None of them contracts, so all give the same bits.
// What the loop calls is compiled into it (flatten): a call that is left, to a function of no width, costs a factor of 13.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define RAMBIT_WIDE __attribute__((flatten, target_clones("avx512f", "avx2", "default")))
#else
#define RAMBIT_WIDE
#endif
