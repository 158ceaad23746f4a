// Vector exp, erf and GELU. Included inside foreach_isa.h, after vec.inl. The coefficients are minimax fits:
// scripts/fit_polynomials.py states each problem and checks these tables against its optimum.

// The nearest integer.
static inline vf vround(vf v) {
#if PA3D_AVX >= 2
  return (vf)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif PA3D_NEON >= 1
  return (vf)vrndnq_f32((float32x4_t)v);
#else
  const vf round_bias = splat(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  return (v + round_bias) - round_bias;
#endif
}

// v * 2^n for an integer n in [-126, 127].
static inline vf vldexp(vf v, vf n) {
#if PA3D_AVX >= 2
  return (vf)_mm512_scalef_ps((__m512)v, (__m512)n);
#else
  const vi exponent = (__builtin_convertvector(n, vi) + 127) << 23;
  return v * (vf)exponent;  // the cast keeps the bits
#endif
}

// exp for v <= 88, with a relative error of 2e-7. Below -87 the result is 1e-38.
static inline vf vexp(vf v) {
  v = vmax(v, splat(-87.0f));
  const vf n = vround(v * splat(1.44269504f));
  vf r = v - n * splat(0.693359375f);
  r = r - n * splat(-2.12194440e-4f);
  vf p = splat(1.381459921e-3f);
  p = p * r + splat(8.368716902e-3f);
  p = p * r + splat(4.166838804e-2f);
  p = p * r + splat(1.666652063e-1f);
  p = p * r + splat(4.999999345e-1f);
  p = p * r * r + r + splat(1.0f);
  return vldexp(p, n);
}

// erf as an odd rational function on [-3.9, 3.9], with an absolute error of 4e-7 in float32.
static inline vf verf(vf v) {
  v = vmin(vmax(v, splat(-3.9f)), splat(3.9f));
  const vf u = v * v;
  vf p = splat(2.011875835e-8f);
  p = p * u + splat(-1.996902805e-6f);
  p = p * u + splat(1.474697294e-4f);
  p = p * u + splat(3.896076281e-3f);
  p = p * u + splat(5.114828293e-2f);
  p = p * u + splat(2.042201845e-1f);
  p = p * u + splat(1.128378800f);
  vf q = splat(1.006552761e-3f);
  q = q * u + splat(1.473008855e-2f);
  q = q * u + splat(1.167835684e-1f);
  q = q * u + splat(5.143144413e-1f);
  q = q * u + splat(1.0f);
  return v * p / q;
}

static inline vf vgelu(vf v) { return splat(0.5f) * v * (splat(1.0f) + verf(v * splat(0.70710678f))); }

// GELU, v Phi(v), with an absolute error of 1.3e-4. That is a sixteenth of the last bit of a bf16 number near 1. Phi -
// 1/2 is approximated by an odd polynomial on [-4, 4] that is 1/2 at 4.
static inline vf vgelu_approx(vf v) {
  const vf c = vmin(vmax(v, splat(-4.0f)), splat(4.0f));
  const vf u = c * c;
  vf p = splat(-4.4251555e-10f);
  p = p * u + splat(5.0818267e-8f);
  p = p * u + splat(-2.3175840e-6f);
  p = p * u + splat(5.7501502e-5f);
  p = p * u + splat(-8.8356535e-4f);
  p = p * u + splat(9.0427796e-3f);
  p = p * u + splat(-6.5069724e-2f);
  p = p * u + splat(3.9819006e-1f);
  return v * (c * p + splat(0.5f));
}

// The derivative of GELU, Phi(v) + v phi(v), accurate to float32 precision. vgelu_grad_approx has an absolute error
// of 2.7e-4.
static inline vf vgelu_grad(vf v) {
  const vf density = vexp(splat(-0.5f) * v * v) * splat(0.39894228f);
  return splat(0.5f) * (splat(1.0f) + verf(v * splat(0.70710678f))) + v * density;
}
static inline vf vgelu_grad_approx(vf v) {
  const vf c = vmin(vmax(v, splat(-4.0f)), splat(4.0f));
  const vf u = c * c;
  vf p = splat(-1.6419773e-8f);
  p = p * u + splat(1.2138064e-6f);
  p = p * u + splat(-3.8459609e-5f);
  p = p * u + splat(6.876464e-4f);
  p = p * u + splat(-7.687452e-3f);
  p = p * u + splat(5.5914876e-2f);
  p = p * u + splat(-2.6202994e-1f);
  p = p * u + splat(7.967217e-1f);
  return c * p + splat(0.5f);
}
