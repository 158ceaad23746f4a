#include "refine.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "refine_graph.h"

namespace pa3d {
namespace {

constexpr double kFloor = 0.01;        // added to scores before the logarithm
constexpr int64_t kCoarsest = 500;     // nodes
constexpr float kCoarseWeight = 0.7f;  // about 1 / the square root of the number of nodes in a group
constexpr double kTolerance = 5e-3;
// Steps on a level of n nodes: kSteps / n, at least kFewest and at most kMost.
constexpr int64_t kSteps = 100'000, kFewest = 4, kMost = 50;

// Groups of neighbours that are strongly coupled, in the order of their first node: coarse (n), the group of a node.
// Each node that has no group yet takes in the neighbours without one whose weight is at least a quarter of its
// largest.
int64_t aggregate(const Graph& g, std::vector<int32_t>& coarse) {
  coarse.assign(g.size(), -1);
  int32_t count = 0;
  for (int64_t i = 0; i < g.size(); ++i) {
    if (coarse[i] >= 0) continue;
    float most = 0;
    for (int64_t e = g.begin[i]; e < g.begin[i + 1]; ++e) most = std::max(most, g.weight[e]);
    coarse[i] = count;
    // A node that hardly spreads is no burden on the solver, but would be one on its group.
    if (most > 0.1f * g.area[i])
      for (int64_t e = g.begin[i]; e < g.begin[i + 1]; ++e)
        if (coarse[g.next[e]] < 0 && g.weight[e] >= 0.25f * most) coarse[g.next[e]] = count;
    ++count;
  }
  return count;
}

// The graph of the groups. Areas are sums, and so are weights, times kCoarseWeight: values that are constant in each
// group are stiffer than smooth ones.
Graph coarsen(const Graph& g, const std::vector<int32_t>& coarse, int64_t count) {
  std::vector<int64_t> begin(count + 1, 0);
  for (int32_t c : coarse) ++begin[c + 1];
  for (int64_t c = 0; c < count; ++c) begin[c + 1] += begin[c];
  std::vector<int32_t> member(g.size());
  {
    std::vector<int64_t> fill(begin.begin(), begin.end() - 1);
    for (int64_t i = 0; i < g.size(); ++i) member[fill[coarse[i]]++] = static_cast<int32_t>(i);
  }
  Graph out;
  out.area.assign(count, 0);
  out.begin.assign(count + 1, 0);
  out.next.reserve(g.next.size() / 2);
  out.weight.reserve(g.next.size() / 2);
  std::vector<int64_t> where(count, -1);
  for (int64_t c = 0; c < count; ++c) {
    const int64_t first = static_cast<int64_t>(out.next.size());
    for (int64_t t = begin[c]; t < begin[c + 1]; ++t) {
      const int64_t i = member[t];
      out.area[c] += g.area[i];
      for (int64_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
        const int32_t d = coarse[g.next[e]];
        if (d == c) continue;
        if (where[d] < first) {
          where[d] = static_cast<int64_t>(out.next.size());
          out.next.push_back(d);
          out.weight.push_back(0);
        }
        out.weight[where[d]] += kCoarseWeight * g.weight[e];
      }
    }
    out.begin[c + 1] = static_cast<int64_t>(out.next.size());
  }
  return out;
}

// Values of B columns at every node, B consecutive floats a node.
template <int B>
struct Columns {
  struct alignas(16) Row {
    float v[B];
  };
  using Rows = std::vector<Row>;

  // Sums over all nodes of what body(i, sum) adds to sum[B], in chunks that do not depend on the threads.
  template <class Body>
  static void sums(int64_t n, int threads, double total[B], const Body& body) {
    const int64_t chunks = (n + kRowsPerTask - 1) / kRowsPerTask;
    std::vector<double> partial(chunks * B, 0.0);
    parallel_for(chunks, 1, threads, [&](int64_t from, int64_t to) {
      for (int64_t c = from; c < to; ++c) {
        double sum[B] = {};  // local, so that it stays in registers
        const int64_t end = std::min(n, (c + 1) * kRowsPerTask);
        for (int64_t i = c * kRowsPerTask; i < end; ++i) body(i, sum);
        std::copy_n(sum, B, &partial[c * B]);
      }
    });
    std::fill_n(total, B, 0.0);
    for (int64_t c = 0; c < chunks; ++c)
      for (int b = 0; b < B; ++b) total[b] += partial[c * B + b];
  }

  // x: the start, then the solution of (D + L) x = D u, D the areas and L the Laplacian, by conjugate gradients with
  // the diagonal as preconditioner (Hestenes and Stiefel, 1952). Every column has its own steps.
  static void solve(const Graph& g, const Rows& u, Rows& x, int64_t steps, int threads) {
    const int64_t n = g.size();
    Rows r(n), p(n), q(n);
    std::vector<float> inverse(n);
    double rz[B], scale[B], pq[B], next[B];
    sums(n, threads, rz, [&](int64_t i, double* sum) {
      {
        float diagonal = g.area[i];
        Row residual;
        for (int b = 0; b < B; ++b) residual.v[b] = g.area[i] * (u[i].v[b] - x[i].v[b]);
        for (int64_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
          const float w = g.weight[e];
          const Row& other = x[g.next[e]];
          diagonal += w;
          for (int b = 0; b < B; ++b) residual.v[b] += w * (other.v[b] - x[i].v[b]);
        }
        inverse[i] = 1 / diagonal;
        for (int b = 0; b < B; ++b) {
          r[i].v[b] = residual.v[b];
          p[i].v[b] = residual.v[b] * inverse[i];
          sum[b] += residual.v[b] * p[i].v[b];
        }
      }
    });
    sums(n, threads, scale, [&](int64_t i, double* sum) {
      for (int b = 0; b < B; ++b) {
        const float value = g.area[i] * u[i].v[b];
        sum[b] += value * value * inverse[i];
      }
    });
    for (int64_t step = 0; step < steps; ++step) {
      bool done = true;
      for (int b = 0; b < B; ++b) done = done && rz[b] <= kTolerance * kTolerance * scale[b];
      if (done) return;
      sums(n, threads, pq, [&](int64_t i, double* sum) {
        {
          const Row own = p[i];
          Row out;
          for (int b = 0; b < B; ++b) out.v[b] = g.area[i] * own.v[b];
          for (int64_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
            const float w = g.weight[e];
            const Row& other = p[g.next[e]];
            for (int b = 0; b < B; ++b) out.v[b] += w * (own.v[b] - other.v[b]);
          }
          q[i] = out;
          for (int b = 0; b < B; ++b) sum[b] += own.v[b] * out.v[b];
        }
      });
      float alpha[B], beta[B];
      for (int b = 0; b < B; ++b) alpha[b] = pq[b] > 0 ? static_cast<float>(rz[b] / pq[b]) : 0.0f;
      sums(n, threads, next, [&](int64_t i, double* sum) {
        for (int b = 0; b < B; ++b) {
          x[i].v[b] += alpha[b] * p[i].v[b];
          const float residual = r[i].v[b] - alpha[b] * q[i].v[b];
          r[i].v[b] = residual;
          sum[b] += residual * residual * inverse[i];
        }
      });
      for (int b = 0; b < B; ++b) {
        beta[b] = rz[b] > 0 ? static_cast<float>(next[b] / rz[b]) : 0.0f;
        rz[b] = next[b];
      }
      parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          for (int b = 0; b < B; ++b) p[i].v[b] = r[i].v[b] * inverse[i] + beta[b] * p[i].v[b];
      });
    }
  }

  // The solution on levels[0], by way of the coarser ones: each starts from the solution of the next coarser one
  // (cascadic conjugate gradients: Deuflhard, 1994).
  static void cascade(const std::vector<Graph>& levels, const std::vector<std::vector<int32_t>>& coarse, Rows& values,
                      int threads) {
    const int64_t depth = static_cast<int64_t>(levels.size());
    std::vector<Rows> u(depth);
    u[0].swap(values);
    for (int64_t l = 1; l < depth; ++l) {
      u[l].assign(levels[l].size(), Row{});
      for (int64_t i = 0; i < levels[l - 1].size(); ++i) {
        const int32_t c = coarse[l - 1][i];
        for (int b = 0; b < B; ++b) u[l][c].v[b] += levels[l - 1].area[i] * u[l - 1][i].v[b];
      }
      for (int64_t c = 0; c < levels[l].size(); ++c)
        for (int b = 0; b < B; ++b) u[l][c].v[b] /= levels[l].area[c];
    }
    Rows x = u[depth - 1];
    for (int64_t l = depth - 1; l >= 0; --l) {
      if (l + 1 < depth) {
        Rows fine(levels[l].size());
        parallel_for(levels[l].size(), kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) fine[i] = x[coarse[l][i]];
        });
        x.swap(fine);
      }
      solve(levels[l], u[l], x, std::clamp(kSteps / levels[l].size(), kFewest, kMost), threads);
    }
    values.swap(x);
  }

  // Columns first .. first + used of table (n, width), replaced by their solution.
  static void run(const std::vector<Graph>& levels, const std::vector<std::vector<int32_t>>& coarse, float* table,
                  int64_t width, int64_t first, int64_t used, int threads) {
    const int64_t n = levels[0].size();
    Rows values(n);
    parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int b = 0; b < B; ++b) values[i].v[b] = b < used ? table[i * width + first + b] : 0.0f;
    });
    cascade(levels, coarse, values, threads);
    parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int b = 0; b < used; ++b) table[i * width + first + b] = values[i].v[b];
    });
  }
};

}  // namespace

void refine(const RefineInput& in, float* scores, int64_t num_parts, int threads) {
  std::vector<int32_t> node;  // of every face or point; empty where each is its own
  std::vector<Graph> levels;
  levels.push_back(in.faces ? face_graph(in, threads, node) : point_graph(in, threads, node));
  const int64_t rows = in.faces ? in.n_faces : in.n, nodes = levels[0].size();
  std::vector<float> table(nodes * num_parts, 0.0f);
  std::vector<float> count(node.empty() ? 0 : nodes, 0.0f);
  for (int32_t place : node) count[place] += 1;
  auto add = [&](int64_t i) {
    const int64_t own = node.empty() ? i : node[i];
    const float part = node.empty() ? 1.0f : 1 / count[own];
    for (int64_t j = 0; j < num_parts; ++j)
      table[own * num_parts + j] += part * std::log(scores[i * num_parts + j] + static_cast<float>(kFloor));
  };
  if (node.empty())
    parallel_for(rows, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) add(i);
    });
  else
    for (int64_t i = 0; i < rows; ++i) add(i);
  if (in.piece) levels[0] = with_pieces(levels[0], in, node, table, num_parts);

  std::vector<std::vector<int32_t>> coarse;
  while (levels.back().size() > kCoarsest) {
    std::vector<int32_t> group;
    const int64_t count_of_groups = aggregate(levels.back(), group);
    if (10 * count_of_groups > 9 * levels.back().size()) break;
    Graph next = coarsen(levels.back(), group, count_of_groups);
    levels.push_back(std::move(next));
    coarse.push_back(std::move(group));
  }
  for (int64_t first = 0; first < num_parts;) {
    const int64_t left = num_parts - first;
    if (left > 4) {
      Columns<8>::run(levels, coarse, table.data(), num_parts, first, std::min<int64_t>(left, 8), threads);
      first += 8;
    } else {
      Columns<4>::run(levels, coarse, table.data(), num_parts, first, left, threads);
      first += 4;
    }
  }
  parallel_for(rows, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const x = &table[(node.empty() ? i : node[i]) * num_parts];
      const float most = *std::max_element(x, x + num_parts);
      float* const out = scores + i * num_parts;
      float sum = 0;
      for (int64_t j = 0; j < num_parts; ++j) sum += out[j] = std::exp(x[j] - most);
      for (int64_t j = 0; j < num_parts; ++j) out[j] /= sum;
    }
  });
}

void mean_at_vertices(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, const float* face_scores,
                      int64_t num_parts, float* scores) {
  std::vector<float> weight(n, 0.0f), sum(n * num_parts, 0.0f);
  for (int64_t f = 0; f < n_faces; ++f) {
    const int32_t* const v = faces + 3 * f;
    const Vec a = at(points, v[0]);
    const float area = static_cast<float>(length(cross(at(points, v[1]) - a, at(points, v[2]) - a)));
    for (int e = 0; e < 3; ++e) {
      weight[v[e]] += area;
      for (int64_t j = 0; j < num_parts; ++j) sum[v[e] * num_parts + j] += area * face_scores[f * num_parts + j];
    }
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < num_parts && weight[i] > 0; ++j)
      scores[i * num_parts + j] = sum[i * num_parts + j] / weight[i];
}

}  // namespace pa3d
