// Weights, logarithms, softmax and the solver of refine.h. Included by refine_kernels.cpp inside foreach_isa.h.
namespace pa3d {
namespace PA3D_NS {
#include "vec.inl"
#include "math.inl"

constexpr float kScale = 0.02f;  // over which length angles count, in roots of the area
constexpr float kFloor = 0.01f;  // added to scores before the logarithm

// log for positive v that are not denormal, with a relative error of 2e-7 where it is not near 0, and an absolute error
// of 1e-7 there. 2 atanh((m - 1) / (m + 1)), with m in [1 / sqrt(2), sqrt(2)].
static inline vf vlog(vf v) {
  const vi bits = (vi)v;
  const vi shifted = bits - splat(int32_t{0x3f3504f3});  // the bits of sqrt(1 / 2)
  const vi exponent = shifted >> 23;
  const vf m = (vf)(bits - (exponent << 23));
  const vf s = (m - splat(1.0f)) / (m + splat(1.0f));
  const vf u = s * s;
  vf p = splat(0.2371600f);
  p = p * u + splat(0.2853055f);
  p = p * u + splat(0.4000183f);
  p = p * u + splat(0.6666666f);
  const vf n = __builtin_convertvector(exponent, vf);
  return n * splat(0.693147181f) + (s * splat(2.0f) + s * u * p);
}

// The angle of (cosine, sine) for sine >= 0, in [0, pi], with an absolute error of 2e-6; 0 for (0, 0).
static inline vf vangle(vf sine, vf cosine) {
  const vf absolute = vmax(cosine, -cosine);
  const vf larger = vmax(sine, absolute), smaller = vmin(sine, absolute);
  const vf t = smaller / vmax(larger, splat(1e-30f));
  const vf u = t * t;
  vf p = splat(-0.01172120f);
  p = p * u + splat(0.05265332f);
  p = p * u + splat(-0.11643287f);
  p = p * u + splat(0.19354346f);
  p = p * u + splat(-0.33262347f);
  p = p * u + splat(0.99997726f);
  p = p * t;
  p = sine > absolute ? splat(1.57079633f) - p : p;
  return cosine < splat(0.0f) ? splat(3.14159265f) - p : p;
}

static inline vf load_lanes(const float* p, int64_t lanes, float rest) {
  if (lanes == PA3D_W) return load(p);
  float all[PA3D_W];
  for (int64_t i = 0; i < PA3D_W; ++i) all[i] = i < lanes ? p[i] : rest;
  return load(all);
}

static inline void store_lanes(float* p, int64_t lanes, vf v) {
  if (lanes == PA3D_W) return store(p, v);
  for (int64_t i = 0; i < lanes; ++i) p[i] = v[i];
}

static inline vf vsqrt(vf v) {
  vf out;
  for (int i = 0; i < PA3D_W; ++i) out[i] = __builtin_sqrtf(v[i]);
  return out;
}

// exp(-angle max(1, kScale root_area / distance) / sigma).
static inline vf openness(vf angle, vf distance, vf sigma, float root_area) {
  const vf over = vmax(splat(1.0f), splat(kScale * root_area) / vmax(distance, splat(1e-12f * root_area)));
  return vexp(-angle * over / sigma);
}

// The rest of the arrays, up to a whole vector, is computed too.
void face_weights(const FacePairs& pairs, float* weight, float* length, float* crease) {
  for (int64_t i = 0; i < pairs.count; i += PA3D_W) {
    const vf distance = vsqrt(load(pairs.sq_first + i)) + vsqrt(load(pairs.sq_second + i));
    const vf angle = vangle(vsqrt(load(pairs.sq_sine + i)), load(pairs.cosine + i));
    const vf open = openness(angle, distance, load(pairs.sigma + i), pairs.root_area);
    const vf edge = vsqrt(load(pairs.sq_length + i));
    const vf ratio = edge / vmax(distance, splat(1e-9f * pairs.root_area));
    store(weight + i, splat(pairs.unit) * (open + splat(kLeastOpenness)) * ratio);
    store(length + i, edge * splat(1 / pairs.root_area));
    store(crease + i, splat(1.0f) - open);
  }
}

void point_openness(const float* sine, const float* cosine, const float* distance, int64_t n, float root_area,
                    float* open) {
  for (int64_t i = 0; i < n; i += PA3D_W) {
    const int64_t lanes = std::min<int64_t>(PA3D_W, n - i);
    const vf angle = vangle(load_lanes(sine + i, lanes, 0), load_lanes(cosine + i, lanes, 1));
    store_lanes(open + i, lanes, openness(angle, load_lanes(distance + i, lanes, 1), splat(kConcave), root_area));
  }
}

void log_scores(const float* scores, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += PA3D_W) {
    const int64_t lanes = std::min<int64_t>(PA3D_W, n - i);
    store_lanes(out + i, lanes, vlog(load_lanes(scores + i, lanes, 1) + splat(kFloor)));
  }
}

void softmax_rows(const float* x, int64_t n, int64_t k, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float most = *std::max_element(x + i * k, x + (i + 1) * k);
    for (int64_t j = 0; j < k; ++j) out[i * k + j] = x[i * k + j] - most;
  }
  for (int64_t i = 0; i < n * k; i += PA3D_W) {
    const int64_t lanes = std::min<int64_t>(PA3D_W, n * k - i);
    store_lanes(out + i, lanes, vexp(load_lanes(out + i, lanes, 0)));
  }
  for (int64_t i = 0; i < n; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += out[i * k + j];
    const float each = 1 / sum;
    for (int64_t j = 0; j < k; ++j) out[i * k + j] *= each;
  }
}

constexpr float kTolerance = 2e-3f;  // of the residual
// Steps on the finest level of n nodes: kSteps / n, at least kFewest and at most kMost; on every other level one.
constexpr int64_t kSteps = 100'000, kFewest = 2, kMost = 12;
constexpr float kDamping = 0.7f;   // of the smoother
constexpr int kSweeps = 10;        // on the coarsest level
constexpr int64_t kRepeat = 1000;  // nodes: larger levels get two cycles, smaller ones one
constexpr int64_t kSumRows = 64;   // rows that are added in float32 before they are added in float64

// B numbers of a row. The compiler takes no template parameter as the size of a vector.
template <int B>
struct RowOf;
template <>
struct RowOf<4> {
  typedef float Row __attribute__((vector_size(16)));
  typedef double Sum __attribute__((vector_size(32)));
};
template <>
struct RowOf<8> {
  typedef float Row __attribute__((vector_size(32)));
  typedef double Sum __attribute__((vector_size(64)));
};

// Values of B columns at every node.
template <int B>
struct Columns {
  using Row = typename RowOf<B>::Row;
  using Sum = typename RowOf<B>::Sum;

  // A row for every node. Of types with vectors in them no function of a header is used, because the linker would
  // merge those of all instruction sets.
  struct Rows {
    Scratch<float> memory;
    void resize(int64_t n) { memory.resize_uninitialized(n * B); }
    Row* data() { return reinterpret_cast<Row*>(memory.data()); }
    Row& operator[](int64_t i) { return data()[i]; }
    const Row& operator[](int64_t i) const { return reinterpret_cast<const Row*>(memory.data())[i]; }
  };

  // Sums over all nodes of what body(i) returns, in chunks that do not depend on the threads.
  template <class Body>
  static Sum sums(int64_t n, int threads, const Body& body) {
    const int64_t chunks = (n + kRowsPerTask - 1) / kRowsPerTask;
    std::vector<double> partial(chunks * B);
    parallel_for(chunks, 1, threads, [&](int64_t from, int64_t to) {
      for (int64_t c = from; c < to; ++c) {
        Sum sum{};
        const int64_t end = std::min(n, (c + 1) * kRowsPerTask);
        for (int64_t first = c * kRowsPerTask; first < end; first += kSumRows) {
          Row few{};
          for (int64_t i = first; i < std::min(end, first + kSumRows); ++i) few += body(i);
          sum += __builtin_convertvector(few, Sum);
        }
        std::memcpy(&partial[c * B], &sum, sizeof sum);
      }
    });
    Sum total{};
    for (int64_t c = 0; c < chunks; ++c) {
      Sum sum;
      std::memcpy(&sum, &partial[c * B], sizeof sum);
      total += sum;
    }
    return total;
  }

  // One level: its equations (D + L) x = D u, and memory for one cycle.
  struct Level {
    const Graph* g;
    const Groups* groups;    // null on the coarsest
    Scratch<float> inverse;  // of the diagonal
    Rows u, right, z;

    int64_t size() const { return g->size(); }
    // Row i of the product of D + L with the rows x(j).
    template <class Value>
    Row times(int64_t i, const Value& x) const {
      const Row own = x(i);
      Row out = g->area[i] * own;
      for (int32_t e = g->begin[i]; e < g->begin[i + 1]; ++e) out += g->weight[e] * (own - x(g->next[e]));
      return out;
    }
    // The first step of the smoother, from zero. It is not stored.
    Row smooth(int64_t i) const { return kDamping * inverse[i] * right[i]; }
  };

  // next.right = the sums over its groups of what the first step of the smoother leaves.
  static void restrict_residual(const Level& level, Level& next, int threads) {
    parallel_for(next.size(), kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      const Groups& groups = *level.groups;
      const auto first = [&](int64_t i) { return level.smooth(i); };
      for (int64_t c = begin; c < end; ++c) {
        Row sum{};
        for (int32_t t = groups.begin[c]; t < groups.begin[c + 1]; ++t)
          sum += level.right[groups.member[t]] - level.times(groups.member[t], first);
        next.right[c] = sum;
      }
    });
  }

  // z = the first step of the smoother, the correction of the next level, and a second step. Returns the sum of right
  // times z.
  static Sum correct(Level& level, const Level& next, int threads) {
    const auto corrected = [&](int64_t i) { return level.smooth(i) + next.z[level.groups->of[i]]; };
    return sums(level.size(), threads, [&](int64_t i) {
      const Row r = level.right[i];
      const Row z = corrected(i) + kDamping * level.inverse[i] * (r - level.times(i, corrected));
      level.z[i] = z;
      return r * z;
    });
  }

  // z = an approximate solution of (D + L) z = right on level l: a W-cycle with a step of damped Jacobi before and
  // after the corrections. Symmetric, so it can be a preconditioner of conjugate gradients. Returns the sum of right
  // times z.
  static Sum cycle(std::vector<Level>& levels, int64_t l, int threads) {
    Level& level = levels[l];
    if (!level.groups) return sweep(level);
    Level& next = levels[l + 1];
    restrict_residual(level, next, threads);
    cycle(levels, l + 1, threads);
    if (next.size() > kRepeat) repeat(levels, l + 1, threads);
    return correct(level, next, threads);
  }

  // z += the result of a second cycle on what the first one leaves.
  static void repeat(std::vector<Level>& levels, int64_t l, int threads) {
    Level& level = levels[l];
    Rows first;
    std::swap(first.memory, level.z.memory);
    level.z.resize(level.size());
    const auto z = [&](int64_t i) { return first[i]; };
    Rows rest;
    rest.resize(level.size());
    parallel_for(level.size(), kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) rest[i] = level.right[i] - level.times(i, z);
    });
    std::swap(rest.memory, level.right.memory);
    cycle(levels, l, threads);
    parallel_for(level.size(), kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) level.z[i] += first[i];
    });
  }

  // The coarsest level: symmetric sweeps of Gauss and Seidel, from zero.
  static Sum sweep(Level& level) {
    const int64_t n = level.size();
    const Graph& g = *level.g;
    for (int64_t i = 0; i < n; ++i) level.z[i] = Row{};
    const auto relax = [&](int64_t i) {
      Row sum = level.right[i];
      for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e) sum += g.weight[e] * level.z[g.next[e]];
      level.z[i] = level.inverse[i] * sum;
    };
    for (int s = 0; s < kSweeps; ++s) {
      for (int64_t i = 0; i < n; ++i) relax(i);
      for (int64_t i = n - 1; i >= 0; --i) relax(i);
    }
    return sums(n, 1, [&](int64_t i) { return level.right[i] * level.z[i]; });
  }

  // x: the start, then the solution on level l, by conjugate gradients with a cycle as preconditioner (Hestenes and
  // Stiefel, 1952). Every column has its own steps.
  static void conjugate_gradients(std::vector<Level>& levels, int64_t l, Rows& x, int threads) {
    Level& level = levels[l];
    const int64_t n = level.size(), steps = l == 0 ? std::clamp(kSteps / n, kFewest, kMost) : 1;
    Rows p, q;
    p.resize(n), q.resize(n);
    const auto value_of = [&](int64_t i) { return x[i]; };
    const auto direction = [&](int64_t i) { return p[i]; };
    const Sum scale = sums(n, threads, [&](int64_t i) {
      const Row value = level.g->area[i] * level.u[i];
      return level.inverse[i] * value * value;
    });
    Sum rr = sums(n, threads, [&](int64_t i) {
      const Row rest = level.g->area[i] * level.u[i] - level.times(i, value_of);
      level.right[i] = rest;
      return level.inverse[i] * rest * rest;
    });
    Sum rz{};
    for (int64_t step = 0; step < steps; ++step) {
      bool done = true;
      for (int b = 0; b < B; ++b) done = done && rr[b] <= kTolerance * kTolerance * scale[b];
      if (done) return;
      const Sum before = std::exchange(rz, cycle(levels, l, threads));
      Row alpha, beta;
      for (int b = 0; b < B; ++b) beta[b] = before[b] > 0 ? static_cast<float>(rz[b] / before[b]) : 0.0f;
      if (step == 0)
        std::swap(p.memory, level.z.memory);
      else
        parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) p[i] = level.z[i] + beta * p[i];
        });
      if (step == 0) level.z.resize(n);
      const Sum pq = sums(n, threads, [&](int64_t i) {
        q[i] = level.times(i, direction);
        return p[i] * q[i];
      });
      for (int b = 0; b < B; ++b) alpha[b] = pq[b] > 0 ? static_cast<float>(rz[b] / pq[b]) : 0.0f;
      rr = sums(n, threads, [&](int64_t i) {
        x[i] += alpha * p[i];
        const Row rest = level.right[i] - alpha * q[i];
        level.right[i] = rest;
        return level.inverse[i] * rest * rest;
      });
    }
  }

  // The solution on the finest level, by way of the coarser ones: each starts from the solution of the next coarser one
  // (full multigrid).
  static void cascade(const Levels& all, Rows& values, int threads) {
    const int64_t depth = all.depth();
    std::vector<Level> levels(depth);
    for (int64_t l = 0; l < depth; ++l) {
      Level& level = levels[l];
      level.g = &all.graph[l];
      level.groups = l + 1 < depth ? &all.groups[l] : nullptr;
      const Graph& g = *level.g;
      const int64_t n = g.size();
      level.inverse.resize_uninitialized(n);
      level.right.resize(n);
      level.z.resize(n);
      parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          float diagonal = g.area[i];
          for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e) diagonal += g.weight[e];
          level.inverse[i] = 1 / diagonal;
        }
      });
      if (l == 0) {
        level.u = std::move(values);
        continue;
      }
      level.u.resize(n);
      const Level& fine = levels[l - 1];
      const Groups& groups = *fine.groups;
      parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
          Row sum{};
          for (int32_t t = groups.begin[c]; t < groups.begin[c + 1]; ++t)
            sum += fine.g->area[groups.member[t]] * fine.u[groups.member[t]];
          level.u[c] = (1 / g.area[c]) * sum;
        }
      });
    }
    Rows x;
    x.resize(levels[depth - 1].size());
    for (int64_t i = 0; i < levels[depth - 1].size(); ++i) x[i] = levels[depth - 1].u[i];
    for (int64_t l = depth - 1; l >= 0; --l) {
      const int64_t n = levels[l].size();
      if (l + 1 < depth) {
        Rows fine;
        fine.resize(n);
        parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) fine[i] = x[all.groups[l].of[i]];
        });
        x = std::move(fine);
      }
      conjugate_gradients(levels, l, x, threads);
    }
    values = std::move(x);
  }

  // Columns first .. first + used of table (n, width), replaced by their solution.
  static void run(const Levels& levels, float* table, int64_t width, int64_t first, int64_t used, int threads) {
    const int64_t n = levels.graph[0].size();
    Rows values;
    values.resize(n);
    parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float row[B];
        for (int b = 0; b < B; ++b) row[b] = b < used ? table[i * width + first + b] : 0.0f;
        std::memcpy(&values[i], row, sizeof row);
      }
    });
    cascade(levels, values, threads);
    parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int b = 0; b < used; ++b) table[i * width + first + b] = values[i][b];
    });
  }
};

}  // namespace PA3D_NS
}  // namespace pa3d
