#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "parallel.h"
#include "refine_graph.h"

namespace pa3d {
namespace {

constexpr int64_t kCoarsest = 500;  // nodes
constexpr float kSofter = 1.5f;
constexpr int64_t kLongRow = 64;  // edges of the members of a group; up to so many are searched one by one
constexpr int64_t kBlocks = 16, kBlock = 4096;  // groups lie within one of kBlocks blocks of at least kBlock nodes

// Groups of strongly coupled neighbours in [first, last): coarse, the group of a node, from 0. Two nodes are coupled
// strongly if their weight is at least a quarter of the largest weight of the first. First, nodes all of whose strong
// neighbours are without a group form one with them. Then the nodes that are left join the group of their strongest
// neighbour, and those that have no such neighbour form groups. Returns their number. (Vanek, Mandel and Brezina,
// Computing 1996.)
int32_t group_block(const Graph& g, int64_t first, int64_t last, int32_t* coarse) {
  std::fill(coarse + first, coarse + last, -1);
  int32_t count = 0;
  const auto is_inside = [&](int32_t j) { return j >= first && j < last; };
  const auto largest = [&](int64_t i) {
    float most = 0;
    for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e) most = std::max(most, g.weight[e]);
    // A node that hardly spreads is no burden on the solver, but would be one on its group.
    return most > 0.1f * g.area[i] ? most : std::numeric_limits<float>::infinity();
  };
  for (int64_t i = first; i < last; ++i) {
    if (coarse[i] >= 0) continue;
    const float least = 0.25f * largest(i);
    bool free = true, any = false;
    for (int32_t e = g.begin[i]; e < g.begin[i + 1] && free; ++e)
      if (g.weight[e] >= least && is_inside(g.next[e])) any = true, free = coarse[g.next[e]] < 0;
    if (!free || !any) continue;
    for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e)
      if (g.weight[e] >= least && is_inside(g.next[e])) coarse[g.next[e]] = count;
    coarse[i] = count++;
  }
  const int32_t whole = count;
  for (int64_t i = first; i < last; ++i) {
    if (coarse[i] >= 0) continue;
    float most = 0.25f * largest(i);
    int32_t best = -1;
    for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
      const int32_t j = g.next[e];
      if (g.weight[e] >= most && is_inside(j) && coarse[j] >= 0 && coarse[j] < whole) most = g.weight[e], best = j;
    }
    // Marked, so that chains of such nodes do not make long groups.
    if (best >= 0) coarse[i] = -2 - coarse[best];
  }
  for (int64_t i = first; i < last; ++i) {
    if (coarse[i] <= -2) coarse[i] = -2 - coarse[i];
    if (coarse[i] >= 0) continue;
    const float least = 0.25f * largest(i);
    for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e)
      if (g.weight[e] >= least && is_inside(g.next[e]) && coarse[g.next[e]] == -1) coarse[g.next[e]] = count;
    coarse[i] = count++;
  }
  // Numbered anew, in the order of their first nodes, so that neighbours are near in memory.
  Scratch<int32_t> number(count, -1);
  int32_t used = 0;
  for (int64_t i = first; i < last; ++i) {
    int32_t& own = number[coarse[i]];
    if (own < 0) own = used++;
    coarse[i] = own;
  }
  return count;
}

// Sorts the nodes in [first, last) by their groups, which are the groups in [low, high) and have no other members.
void list_members(Groups& groups, int64_t first, int64_t last, int64_t low, int64_t high) {
  int32_t* const begin = groups.begin.data();
  std::fill(begin + low, begin + high, 0);
  for (int64_t i = first; i < last; ++i) ++begin[groups.of[i]];
  int32_t total = static_cast<int32_t>(first);
  for (int64_t c = low; c < high; ++c) total += std::exchange(begin[c], total);
  for (int64_t i = first; i < last; ++i) groups.member[begin[groups.of[i]]++] = static_cast<int32_t>(i);
  for (int64_t c = high - 1; c > low; --c) begin[c] = begin[c - 1];
  begin[low] = static_cast<int32_t>(first);
}

// Groups of all nodes. Where neighbours have near numbers, as in most files, blocks of nodes are grouped apart.
Groups group(const Graph& g, int threads) {
  const int64_t n = g.size(), blocks = std::clamp<int64_t>(n / kBlock, 1, kBlocks);
  const auto edge = [&](int64_t b) { return n * b / blocks; };
  Groups out;
  out.of.resize_uninitialized(n);
  out.member.resize_uninitialized(n);
  std::vector<int32_t> low(blocks + 1);  // the first group of every block
  parallel_for(blocks, 1, threads, [&](int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) low[b] = group_block(g, edge(b), edge(b + 1), out.of.data());
  });
  int32_t total = 0;
  for (int32_t& c : low) total += std::exchange(c, total);
  if (blocks > 1 && 2 * int64_t{total} > n) {
    total = group_block(g, 0, n, out.of.data());
    out.begin.resize_uninitialized(total + 1);
    list_members(out, 0, n, 0, total);
  } else {
    out.begin.resize_uninitialized(total + 1);
    parallel_for(blocks, 1, threads, [&](int64_t from, int64_t to) {
      for (int64_t b = from; b < to; ++b) {
        for (int64_t i = edge(b); i < edge(b + 1); ++i) out.of[i] += low[b];
        list_members(out, edge(b), edge(b + 1), low[b], low[b + 1]);
      }
    });
  }
  out.begin[total] = static_cast<int32_t>(n);
  return out;
}

// The graph of the groups. Areas are sums, and so are weights, times kSofter and divided by the square root of the mean
// size of a group: on a surface, values that are constant in each group are stiffer by this root than smooth ones.
Graph coarsen(const Graph& g, const Groups& groups, int threads) {
  const Scratch<int32_t>&coarse = groups.of, &begin = groups.begin, &member = groups.member;
  const int64_t count = begin.size() - 1;
  const float softer = std::min(1.0f, kSofter * std::sqrt(static_cast<float>(count) / static_cast<float>(g.size())));
  Graph out;
  out.area.resize(count);
  out.begin.resize(count + 1);
  const int64_t blocks = std::clamp<int64_t>(count / kRowsPerTask, 1, kBlocks);
  struct Block {
    Scratch<int32_t> next;
    Scratch<float> weight;
  };
  std::vector<Block> block(blocks);
  parallel_for(blocks, 1, threads, [&](int64_t from, int64_t to) {
    Scratch<int32_t> where;  // of a group, its entry in the row that is being made; only for long rows
    for (int64_t b = from; b < to; ++b) {
      const int64_t first = count * b / blocks, last = count * (b + 1) / blocks;
      int64_t most = 0;
      for (int32_t t = begin[first]; t < begin[last]; ++t) most += g.begin[member[t] + 1] - g.begin[member[t]];
      block[b].next.resize_uninitialized(most);
      block[b].weight.resize_uninitialized(most);
      int32_t* next = block[b].next.data();
      float* weight = block[b].weight.data();
      for (int64_t c = first; c < last; ++c) {
        int64_t edges = 0;
        for (int32_t t = begin[c]; t < begin[c + 1]; ++t) edges += g.begin[member[t] + 1] - g.begin[member[t]];
        const bool is_long = edges > kLongRow;
        if (is_long && where.size() == 0) where = Scratch<int32_t>(count, -1);
        int32_t length = 0;
        float area = 0;
        for (int32_t t = begin[c]; t < begin[c + 1]; ++t) {
          const int32_t i = member[t];
          area += g.area[i];
          for (int32_t e = g.begin[i]; e < g.begin[i + 1]; ++e) {
            const int32_t d = coarse[g.next[e]];
            if (d == c) continue;
            int32_t entry = is_long ? where[d] : 0;
            if (!is_long)
              while (entry < length && next[entry] != d) ++entry;
            if (entry < 0 || entry == length) {
              entry = length++;
              next[entry] = d;
              weight[entry] = 0;
              if (is_long) where[d] = entry;
            }
            weight[entry] += softer * g.weight[e];
          }
        }
        if (is_long)
          for (int32_t entry = 0; entry < length; ++entry) where[next[entry]] = -1;
        out.area[c] = area;
        out.begin[c + 1] = length;  // their sums come below
        next += length, weight += length;
      }
    }
  });
  for (int64_t c = 0; c < count; ++c) out.begin[c + 1] += out.begin[c];
  out.next.resize_uninitialized(out.begin[count]);
  out.weight.resize_uninitialized(out.begin[count]);
  parallel_for(blocks, 1, threads, [&](int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      const int32_t at = out.begin[count * b / blocks], end = out.begin[count * (b + 1) / blocks];
      std::copy_n(block[b].next.data(), end - at, out.next.data() + at);
      std::copy_n(block[b].weight.data(), end - at, out.weight.data() + at);
    }
  });
  return out;
}

}  // namespace

Levels make_levels(Graph finest, int threads) {
  Levels levels;
  levels.graph.push_back(std::move(finest));
  while (levels.graph.back().size() > kCoarsest) {
    const Graph& g = levels.graph.back();
    Groups groups = group(g, threads);
    const int64_t count = groups.begin.size() - 1;
    if (10 * count > 9 * g.size()) break;
    Graph next = coarsen(g, groups, threads);
    levels.graph.push_back(std::move(next));
    levels.groups.push_back(std::move(groups));
  }
  return levels;
}

}  // namespace pa3d
