// Vector exp and erf; included inside foreach_isa.h, after vec.inl. Coefficients: our own least-maximum fits.

static inline vf vround(vf v) {
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  return (v + magic) - magic;
}

// exp for v <= 88; relative error 2e-7; below -87 it gives 1e-38.
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
  const vi exponent = (__builtin_convertvector(n, vi) + 127) << 23;
  return p * (vf)exponent;  // the cast keeps the bits
}

// erf as an odd rational function on [-3.9, 3.9], absolute error 4e-7 in float32.
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
