// 4 lanes: AArch64 NEON. What each function means stands in simd_scalar.h.
#pragma once
#include <arm_neon.h>

#include "simd_common.h"

namespace bhvit::ISA {

constexpr int LANES = 4, ROWS = 2, TILE = LANES * ROWS, COLUMNS = 8;
constexpr int COUNT_WORDS = 31; // a byte counts up to 8 bits a word
constexpr int GROUP = 6, PANELS = 1;

using F = float32x4_t;
using I = uint32x4_t;
using Bits = uint8_t;

INLINE F load(const float *p) { return vld1q_f32(p); }
INLINE void store(float *p, F x) { vst1q_f32(p, x); }
INLINE F set(float x) { return vdupq_n_f32(x); }
INLINE F add(F a, F b) { return vaddq_f32(a, b); }
INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
INLINE F div(F a, F b) { return vdivq_f32(a, b); }
INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
INLINE F max(F a, F b) { return vmaxq_f32(a, b); }
INLINE F min(F a, F b) { return vminq_f32(a, b); }
INLINE F round(F x) { return vrndnq_f32(x); }
INLINE F sqrt(F x) { return vsqrtq_f32(x); }
INLINE F power_of_two(F n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23)); }
INLINE F copysign(F magnitude, F sign) { return vbslq_f32(vdupq_n_u32(0x80000000), sign, magnitude); }
INLINE float sum(F x) { return vaddvq_f32(x); }
INLINE F prelu(F u, F slope) { return vbslq_f32(vcltzq_f32(u), vmulq_f32(u, slope), u); }
INLINE uint32_t at_least(F x, F y) {
  const uint32_t weights[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vcgeq_f32(x, y), vld1q_u32(weights)));
}

INLINE I load_words(const uint32_t *p) { return vld1q_u32(p); }
INLINE void store_words(uint32_t *p, I x) { vst1q_u32(p, x); }
INLINE I set_word(uint32_t x) { return vdupq_n_u32(x); }
INLINE I zero_words() { return vdupq_n_u32(0); }
INLINE I add_words(I a, I b) { return vaddq_u32(a, b); }
INLINE F to_float(I x) { return vcvtq_f32_s32(vreinterpretq_s32_u32(x)); }
INLINE I to_int(F x) { return vreinterpretq_u32_s32(vcvtnq_s32_f32(x)); }
INLINE I pair(I low, I high) { return vsliq_n_u32(low, high, 16); }
INLINE I widen_int8(const uint8_t *p) { return vreinterpretq_u32_s16(vmovl_s8(vld1_s8((const int8_t *)p))); }
INLINE I widen_int4(const uint8_t *p) {
  int8_t bytes[8] = {};
  memcpy(bytes, p, 4);
  const int32x4_t x = vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes))));
  return pair(vreinterpretq_u32_s32(vshrq_n_s32(vshlq_n_s32(x, 28), 28)), vreinterpretq_u32_s32(vshrq_n_s32(x, 4)));
}
INLINE I multiply_pairs(I acc, I a, I b) {
  const int16x8_t x = vreinterpretq_s16_u32(a), y = vreinterpretq_s16_u32(b);
  const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
  return vaddq_u32(acc, vreinterpretq_u32_s32(vpaddq_s32(low, high)));
}

using Count = uint8x16_t; // a count in every byte
INLINE Count no_count() { return vdupq_n_u8(0); }
INLINE Count count_different(Count n, I a, I b) { return vaddq_u8(n, vcntq_u8(vreinterpretq_u8_u32(veorq_u32(a, b)))); }
INLINE I counted(Count n) { return vpaddlq_u16(vpaddlq_u8(n)); }

INLINE F half_to_float(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

INLINE void transpose_bits(const Bits (*bits)[32], uint32_t *words) {
  // Bytes of both vectors together: bit t of byte c is token t of column c.
  const int8_t shifts[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
  const int8x16_t shift = vld1q_s8(shifts);
  uint8x16_t column[2];
  for (int half = 0; half < 2; ++half)
    column[half] = vorrq_u8(vld1q_u8(bits[0] + 16 * half), vshlq_n_u8(vld1q_u8(bits[1] + 16 * half), 4));
  for (int t = 0; t < TILE; ++t) {
    uint32_t word = 0;
    for (int half = 0; half < 2; ++half) {
      const uint8x16_t bit = vshlq_u8(vandq_u8(vshlq_u8(column[half], vdupq_n_s8(int8_t(-t))), vdupq_n_u8(1)), shift);
      word |= uint32_t(vaddv_u8(vget_low_u8(bit))) << (16 * half) | uint32_t(vaddv_u8(vget_high_u8(bit))) << (16 * half + 8);
    }
    words[t] = word;
  }
}

INLINE void transpose_block(const float *const *in, int first, float *out, int stride) {
  const F a = vld1q_f32(in[0] + first), b = vld1q_f32(in[1] + first), c = vld1q_f32(in[2] + first), d = vld1q_f32(in[3] + first);
  const F ab = vtrn1q_f32(a, b), ab2 = vtrn2q_f32(a, b), cd = vtrn1q_f32(c, d), cd2 = vtrn2q_f32(c, d);
  vst1q_f32(out, vcombine_f32(vget_low_f32(ab), vget_low_f32(cd)));
  vst1q_f32(out + stride, vcombine_f32(vget_low_f32(ab2), vget_low_f32(cd2)));
  vst1q_f32(out + 2 * stride, vcombine_f32(vget_high_f32(ab), vget_high_f32(cd)));
  vst1q_f32(out + 3 * stride, vcombine_f32(vget_high_f32(ab2), vget_high_f32(cd2)));
}

} // namespace bhvit::ISA
