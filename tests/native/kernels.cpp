// Every kernel at sizes around its edges, at every level of the processor and on several threads, compared with plain
// loops where the rule is exact and with one thread elsewhere. What exact kernels return is the same at every level;
// the digest that is printed is the same on every kind of processor (tests/test_arm.py). A program of its own, so that
// sanitizers see nothing else.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cpu/backproject.h"
#include "cpu/components.h"
#include "cpu/cpuid.h"
#include "cpu/encoder.h"
#include "cpu/fps.h"
#include "cpu/interpolate.h"
#include "cpu/knn.h"
#include "cpu/outliers.h"
#include "cpu/parallel.h"
#include "cpu/passes.h"
#include "cpu/rasterize.h"
#include "cpu/hierarchy.h"
#include "cpu/refine.h"
#include "cpu/sample.h"
#include "cpu/segment.h"
#include "cpu/words.h"
#include "cpu/text.h"
#include "cpu/train_block.h"
#include "cpu/train_embed.h"

namespace {

using Floats = std::vector<float>;
using Indices = std::vector<int64_t>;

std::atomic<int64_t> checks{0};

void check(bool good, const std::string& what) {
  ++checks;
  if (good) return;
  std::fprintf(stderr, "%s: %s\n", pa3d::isa_name(pa3d::isa()), what.c_str());
  std::exit(1);
}

// FNV-1a of everything that exact kernels return at one level.
class Digest {
 public:
  template <class T>
  void add(const std::vector<T>& values) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (size_t i = 0; i < values.size() * sizeof(T); ++i) state_ = (state_ ^ bytes[i]) * 0x100000001b3u;
  }
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xcbf29ce484222325u;
};

Digest exact;

// splitmix64, uniform in [-1, 1).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  float operator()() { return static_cast<float>(static_cast<double>(bits() >> 11) / 9007199254740992.0 * 2 - 1); }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

Floats cloud(const std::string& kind, int64_t n, uint64_t seed) {
  Random random(seed + static_cast<uint64_t>(n));
  Floats points(3 * n);
  for (int64_t i = 0; i < n; ++i)
    for (int a = 0; a < 3; ++a) {
      float& x = points[3 * i + a];
      x = random();
      if (kind == "grid") x = std::round(4 * x) / 4;
      if (kind == "collinear" && a > 0) x = points[3 * i] * static_cast<float>(a) - 0.5f;
    }
  if (kind == "duplicated")
    for (int64_t i = n / 8 + 1; i < n; ++i)
      std::copy_n(points.begin() + 3 * random.below(n / 8 + 1), 3, points.begin() + 3 * i);
  return points;
}

float distance(const float* a, const float* b) {
  const float x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
  return (x * x + y * y) + z * z;
}

Indices plain_sample(const Floats& points, int64_t k, int64_t start, float near) {
  const int64_t n = static_cast<int64_t>(points.size()) / 3;
  const float origin[3] = {0, 0, 0};
  Floats nearest(n, std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < n; ++i)
    if (near > 0 && distance(&points[3 * i], origin) <= near) nearest[i] = -1;
  Indices out{start};
  while (static_cast<int64_t>(out.size()) < k) {
    for (int64_t i = 0; i < n; ++i)
      nearest[i] = std::min(nearest[i], distance(&points[3 * i], &points[3 * out.back()]));
    out.push_back(std::max_element(nearest.begin(), nearest.end()) - nearest.begin());
  }
  return out;
}

Indices plain_neighbours(const float* query, const Floats& points, int64_t k) {
  Indices order(points.size() / 3);
  std::iota(order.begin(), order.end(), 0);
  Floats d(order.size());
  for (size_t i = 0; i < d.size(); ++i) d[i] = distance(query, &points[3 * i]);
  std::partial_sort(order.begin(), order.begin() + k, order.end(),
                    [&](int64_t a, int64_t b) { return d[a] < d[b] || (d[a] == d[b] && a < b); });
  order.resize(k);
  return order;
}

const char* const kKinds[] = {"random", "grid", "duplicated", "collinear"};

void sampling() {
  for (const char* kind : kKinds)
    for (int64_t n : {1, 2, 15, 16, 17, 33, 100, 129, 1000, 8191, 8192, 8193}) {
      const Floats points = cloud(kind, n, 1);
      const int64_t k = std::min<int64_t>(n + 2, 21), m = std::min<int64_t>(n, 33);
      for (float near : {0.0f, 0.3f}) {
        const Indices expected = plain_sample(points, k, n / 2, near);
        Indices index(k), again(k), members(k * m);
        pa3d::farthest_point_sample(points.data(), n, k, n / 2, near, index.data());
        check(index == expected, std::string("farthest_point_sample, ") + kind + ", " + std::to_string(n));
        pa3d::sample_and_group(points.data(), n, k, m, n / 2, near, again.data(), members.data(), nullptr);
        check(again == expected, std::string("sample_and_group, centres, ") + kind + ", " + std::to_string(n));
        exact.add(index);
        exact.add(members);
        for (int64_t g : {int64_t{0}, k - 1}) {
          const Indices row(members.begin() + g * m, members.begin() + (g + 1) * m);
          check(row == plain_neighbours(&points[3 * index[g]], points, m), "sample_and_group, members");
        }
      }
    }
}

void neighbours() {
  for (const char* kind : kKinds)
    for (int64_t n : {1, 2, 16, 17, 65, 1000, 2047, 2048, 4097}) {
      const Floats points = cloud(kind, n, 2);
      for (int64_t q : {1, 65, 200}) {
        const Floats queries = cloud(kind, q, 3);
        for (int64_t k : {int64_t{1}, std::min<int64_t>(n, 7), std::min<int64_t>(n, 33)})
          for (int threads : {1, 3}) {
            Indices index(q * k);
            Floats far(q * k);
            pa3d::knn(queries.data(), q, points.data(), n, k, threads, index.data(), far.data());
            exact.add(index);
            exact.add(far);
            for (int64_t i : {int64_t{0}, q - 1}) {
              const Indices row(index.begin() + i * k, index.begin() + (i + 1) * k);
              check(row == plain_neighbours(&queries[3 * i], points, k),
                    std::string("knn, ") + kind + ", " + std::to_string(n));
              check(far[i * k] == distance(&queries[3 * i], &points[3 * row[0]]), "knn, distance");
            }
          }
      }
    }
}

void interpolation() {
  for (int64_t g : {1, 2, 3, 15, 16, 17, 128, 2048, 2049})
    for (int64_t n : {1, 77, 1023, 1025, 4100})
      for (int64_t c : {1, 5})
        for (int64_t k : {1, 2, 3}) {
          if (k > g) continue;
          const Floats points = cloud("grid", n, 4), centers = cloud("grid", g, 5), values = cloud("random", g * c, 6);
          Floats one(n * c), three(n * c), far(n * k);
          std::vector<int32_t> index(n * k);
          pa3d::interpolate(points.data(), n, centers.data(), g, values.data(), c, k, 1, one.data());
          pa3d::interpolate(points.data(), n, centers.data(), g, values.data(), c, k, 3, three.data());
          check(one == three, "interpolate depends on threads");
          pa3d::nearest_centers(points.data(), n, centers.data(), g, k, 3, index.data(), far.data());
          const Indices last = plain_neighbours(&points[3 * (n - 1)], centers, k);
          check(std::equal(last.begin(), last.end(), index.begin() + (n - 1) * k), "nearest_centers");
          exact.add(one);
          exact.add(index);
          exact.add(far);
        }
}

// Weights of any name, drawn once and kept.
template <class T>
class Weights {
 public:
  const T* operator()(const std::string& name, int64_t count) {
    auto& held = held_[name];
    if (held.empty()) {
      Random random(std::hash<std::string>{}(name));
      for (int64_t i = 0; i < count; ++i) held.push_back(value(random(), name));
    }
    return held.data();
  }

 private:
  static T value(float x, const std::string& name) {
    if (std::is_integral<T>::value) return static_cast<T>(32767 * x);
    if (name.find("running_var") != std::string::npos) return static_cast<T>(1 + x / 2);
    return static_cast<T>(x / 4);
  }
  std::map<std::string, std::vector<T>> held_;
};

struct Encoded {
  Indices centers, members;
  Floats tokens, features;
  bool operator==(const Encoded& o) const {
    return centers == o.centers && members == o.members && tokens == o.tokens && features == o.features;
  }
};

Encoded encode(const pa3d::Encoder& encoder, const Floats& points, int threads, pa3d::Encoder::Workspace& space) {
  const auto& c = encoder.config();
  const int64_t n = static_cast<int64_t>(points.size()) / 3, patches = pa3d::passes_for(c, n).total();
  Encoded out{Indices(patches), Indices(patches * c.patch_size), Floats(patches * c.dim), Floats(patches * c.text_dim)};
  encoder.forward(points.data(), n, threads, space, out.centers.data(), out.members.data(), out.tokens.data(),
                  out.features.data(), nullptr);
  return out;
}

void encoding() {
  pa3d::EncoderConfig small{10, 7, 48, 2, 3, 100, {5, 9, 18, 33}, 11, 21};
  pa3d::EncoderConfig ones{1, 1, 1, 1, 1, 1, {1, 1, 1, 1}, 1, 1};
  pa3d::EncoderConfig odd{33, 65, 34, 1, 2, 67, {17, 31, 65, 66}, 12, 130};
  pa3d::EncoderConfig passes = small;
  passes.pass_points = 60;  // 2, 2 and 5 passes over the clouds
  for (const auto& config : {small, ones, odd, passes})
    for (auto precision : {pa3d::Precision::fp32, pa3d::Precision::bf16, pa3d::Precision::int8}) {
      if (!pa3d::supports(precision)) continue;
      Weights<float> weights;
      const auto encoder = pa3d::make_encoder(config, precision, std::ref(weights));
      const std::vector<Floats> clouds = {cloud("random", 3, 7), cloud("random", 40, 8), cloud("grid", 300, 9)};
      const auto space = encoder->workspace();
      std::vector<Encoded> alone;
      for (const Floats& points : clouds) {
        alone.push_back(encode(*encoder, points, 1, *space));
        for (int threads : {2, 3, 5})
          check(encode(*encoder, points, threads, *space) == alone.back(), "the encoder depends on threads");
        for (float x : alone.back().features) check(std::isfinite(x), "the encoder's features are not finite");
      }
      std::vector<Encoded> together(clouds.size());
      pa3d::parallel_for(static_cast<int64_t>(clouds.size()), 1, 3, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const auto own = encoder->workspace();
          together[i] = encode(*encoder, clouds[i], 1, *own);
        }
      });
      check(together == alone, "clouds encoded together differ");
      std::vector<std::thread> callers;
      std::vector<Encoded> called(2);
      for (int i = 0; i < 2; ++i)
        callers.emplace_back([&, i] {
          const auto own = encoder->workspace();
          called[i] = encode(*encoder, clouds[i], 2, *own);
        });
      for (std::thread& caller : callers) caller.join();
      check(called[0] == alone[0] && called[1] == alone[1], "two callers at once differ");
    }
}

void text() {
  const pa3d::TextConfig config{50, 20, 64, 2, 128, 2, 1e-12f};
  Weights<int16_t> integers;
  Weights<float> floats;
  const auto encoder = pa3d::make_text_encoder(config, {std::ref(integers), std::ref(floats)}, 3);
  Random random(10);
  const Indices lengths = {1, 20, 3, 7, 19, 2, 5};
  std::vector<int32_t> ids(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  for (int32_t& id : ids) id = static_cast<int32_t>(random.below(config.vocabulary));
  const int64_t n = static_cast<int64_t>(lengths.size());
  Floats one(n * config.width), many(n * config.width);
  const auto space = encoder->workspace();
  encoder->encode(ids.data(), lengths.data(), n, 1, *space, one.data());
  for (int threads : {2, 3, 5}) {
    encoder->encode(ids.data(), lengths.data(), n, threads, *space, many.data());
    check(one == many, "the text encoder depends on threads");
  }
}

void surface() {
  const int64_t n = 300, n_faces = 500;
  const Floats vertices = cloud("random", n, 21);
  Random random(22);
  std::vector<int32_t> faces(3 * n_faces);
  for (int32_t& corner : faces) corner = static_cast<int32_t>(random.below(n));
  for (int64_t count : {0, 1, 17, 2048}) {
    Floats points(3 * count);
    std::vector<int32_t> face(count);
    check(pa3d::sample_surface(vertices.data(), faces.data(), n_faces, count, 5, points.data(), face.data()),
          "sample_surface finds an area");
    check(std::is_sorted(face.begin(), face.end()) && (count == 0 || (face.front() >= 0 && face.back() < n_faces)),
          "sample_surface takes faces in order");
    exact.add(points);
    exact.add(face);
  }
  std::fill(faces.begin(), faces.end(), 7);
  float point[3];
  int32_t face;
  check(!pa3d::sample_surface(vertices.data(), faces.data(), n_faces, 1, 5, point, &face), "faces without an area");
}

void labelling() {
  const int64_t n = 70001, g = 37, m = 9, k = 3, seen = 100;
  Indices chosen(seen), members(g * m);
  pa3d::sample_indices(n, seen, 11, chosen.data());
  check(std::is_sorted(chosen.begin(), chosen.end()) && chosen.back() < n, "sample_indices");
  const Floats raw = cloud("random", n, 12), centers = cloud("random", g, 13), logits = cloud("random", g * k, 14);
  const Floats points = cloud("random", seen, 15);
  Random random(16);
  for (int64_t& member : members) member = random.below(seen);
  const auto to = pa3d::normalization(raw.data(), n);
  const int axes[3] = {0, 2, 1};
  const pa3d::Patches patches{centers.data(), g, members.data(), m, points.data(), seen};
  for (auto how : {pa3d::Assign::nearest, pa3d::Assign::membership, pa3d::Assign::smooth}) {
    Floats at[2] = {Floats(3 * n), Floats(3 * n)}, scores[2] = {Floats(k * n), Floats(k * n)};
    std::vector<int32_t> labels[2] = {std::vector<int32_t>(n), std::vector<int32_t>(n)};
    for (int i = 0; i < 2; ++i) {
      pa3d::normalize(raw.data(), n, to, axes, 2 * i + 1, at[i].data());
      pa3d::label_points(at[i].data(), n, patches, logits.data(), k, how, 0.4f, 2 * i + 1, labels[i].data(),
                         scores[i].data());
      const float presence[3] = {0.9f, 0.5f, 0.1f};
      pa3d::label_points(at[i].data(), n, patches, logits.data(), k, how, 0.4f, 2 * i + 1, labels[i].data(),
                         scores[i].data(), presence);
    }
    check(at[0] == at[1] && labels[0] == labels[1] && scores[0] == scores[1], "labels depend on threads");
  }
}

// Random faces over few places, so that edges have many faces and faces have twins; clouds with copies of points.
void borders() {
  for (const int64_t n : {1, 2, 9, 17, 300, 9000}) {
    const int64_t m = 2 * n, pieces = 3, k = n % 2 ? 3 : 9;
    Random random(static_cast<uint64_t>(n));
    Floats points(3 * n);
    for (float& x : points) x = std::round(random() * 8);
    std::vector<int32_t> faces(3 * m), labels(m), piece(m);
    for (int32_t& v : faces) v = static_cast<int32_t>(random.below(n));
    for (int32_t& l : labels) l = static_cast<int32_t>(random.below(3)) - 1;
    for (int32_t& p : piece) p = static_cast<int32_t>(random.below(pieces + 1)) - 1;
    for (const bool mesh : {true, false}) {
      const int64_t rows = mesh ? m : n;
      std::vector<int32_t> component[2] = {std::vector<int32_t>(m), std::vector<int32_t>(m)};
      Floats scores[2] = {Floats(rows * k, 1.0f / static_cast<float>(k)), {}};
      for (float& p : scores[0]) p += 0.1f * std::fabs(random());
      scores[1] = scores[0];
      const Floats bond(pieces, 1), weight(pieces, 2), evidence(pieces * k, -1);
      const int32_t* const triangles = mesh ? faces.data() : nullptr;
      for (int i = 0; i < 2; ++i) {
        pa3d::components(points.data(), n, triangles, m, labels.data(), 2 * i + 1, component[i].data());
        pa3d::RefineInput in{};
        in.points = points.data(), in.n = n, in.faces = triangles, in.n_faces = m, in.reach = pa3d::kRefineReach;
        in.piece = piece.data(), in.num_pieces = pieces, in.bond = bond.data();
        in.evidence = evidence.data(), in.weight = weight.data();
        pa3d::refine(in, scores[i].data(), k, 2 * i + 1);
      }
      pa3d::Hierarchy tree[2];
      const Floats features(rows * 3, 0.5f);
      for (int i = 0; i < 2; ++i)
        tree[i] = pa3d::merge_regions({points.data(), n, triangles, m, features.data(), 3, 20 + 5 * pieces}, 2 * i + 1);
      check(tree[0].leaf == tree[1].leaf && tree[0].merges == tree[1].merges, "merge_regions depends on threads");
      check(static_cast<int64_t>(tree[0].merges.size()) == 2 * (tree[0].num_leaves - 1), "merge_regions: a number");
      check(component[0] == component[1], "components depend on threads");
      check(scores[0] == scores[1], "refine depends on threads");
      for (int64_t i = 0; i < rows; ++i)
        check(std::fabs(std::accumulate(&scores[0][i * k], &scores[0][i * k] + k, 0.0f) - 1) < 1e-4, "refine: a sum");
      if (!mesh) continue;
      Floats vertex(n * k, 0.5f);
      pa3d::mean_at_vertices(points.data(), n, triangles, m, scores[0].data(), k, vertex.data());
      check(std::all_of(vertex.begin(), vertex.end(), [](float p) { return p >= 0 && p <= 1.0001f; }), "at vertices");
    }
  }
}

void outliers() {
  const int64_t n = 5000;
  Floats points = cloud("random", n, 31);
  for (int64_t i = 0; i < n; ++i) points[3 * i + 1] = 0;
  for (int64_t i = 0; i < 3; ++i) points[3 * (7 + 100 * i)] = 1e6f * static_cast<float>(i + 1);  // three stray points
  std::vector<uint8_t> found[2] = {std::vector<uint8_t>(n, 9), std::vector<uint8_t>(n, 9)};
  int64_t count[2];
  for (int i = 0; i < 2; ++i) count[i] = pa3d::find_outliers(points.data(), n, 3, 3 * i + 1, found[i].data());
  check(count[0] == count[1] && found[0] == found[1], "outliers depend on threads");
  check(found[0][7] == 1 && found[0][107] == 1 && found[0][207] == 1 && count[0] < 100, "find_outliers");
  check(std::accumulate(found[0].begin(), found[0].end(), int64_t{0}) == count[0], "find_outliers counts");
  exact.add(found[0]);
  uint8_t one = 9;
  check(pa3d::find_outliers(points.data(), 1, 3, 1, &one) == 0 && one == 0, "a single point");
}

void names() {
  const int64_t g = 37, k = 5, d = 33, r = 131;
  const Floats features = cloud("random", g * d, 32), vectors = cloud("random", k * d, 33);
  Random random(34);
  std::vector<int8_t> bank(r * d);
  for (int8_t& value : bank) value = static_cast<int8_t>(random.below(255) - 127);
  Floats levels[2] = {Floats(k), Floats(k)}, logits(g * k), presence(k);
  for (int i = 0; i < 2; ++i) pa3d::name_levels(bank.data(), r, vectors.data(), k, d, 2 * i + 1, levels[i].data());
  check(levels[0] == levels[1] && *std::min_element(levels[0].begin(), levels[0].end()) >= 1, "name_levels");
  pa3d::cosine_logits(features.data(), g, vectors.data(), k, d, 0.07f, logits.data(), levels[0].data());
  std::vector<int32_t> meaning(r);
  for (int64_t i = 0; i < r; ++i) meaning[i] = static_cast<int32_t>(i / 4 * 4);
  Floats read[2] = {Floats(k * d), Floats(k * d)};
  const pa3d::Lexicon lexicon{bank.data(), meaning.data(), r};
  for (int i = 0; i < 2; ++i) pa3d::read_through_lexicon(lexicon, vectors.data(), k, d, 2 * i + 1, read[i].data());
  check(read[0] == read[1], "read_through_lexicon depends on threads");
  for (int64_t i = 0; i < k; ++i) {
    const float* const v = &read[0][i * d];
    check(std::fabs(std::inner_product(v, v + d, v, 0.0f) - 1) < 1e-4f, "read_through_lexicon gives unit vectors");
  }
  const int64_t c = 6;
  std::vector<int32_t> has;
  for (int32_t kind = 0; kind < c; ++kind)
    for (int32_t part = kind; part < kind + 3; ++part) has.insert(has.end(), {kind, part});
  const pa3d::Kinds kinds{bank.data(), c, bank.data() + c * d, c + 2, has.data(), 3 * c};
  Floats on_shape[2] = {Floats(k * d), Floats(k * d)};
  for (int i = 0; i < 2; ++i) {
    const int threads = 2 * i + 1;
    const pa3d::LexiconNames known = pa3d::lexicon_names(lexicon, kinds, d, threads);
    check(known.count == (r + 3) / 4, "lexicon_names has each once");
    Floats fits(c * k), nearest(k), closeness(k * known.count);
    pa3d::read_through_lexicon(lexicon, vectors.data(), k, d, threads, read[i].data(), nearest.data());
    pa3d::kind_fits(kinds, read[i].data(), k, d, threads, fits.data());
    pa3d::closeness_to_names(lexicon, known.name_of.data(), known.count, vectors.data(), k, d, threads,
                             closeness.data());
    const pa3d::Words words{k,           vectors.data(), read[i].data(),  levels[0].data(),
                            fits.data(), nearest.data(), closeness.data()};
    pa3d::read_on_shape({known.vectors.data(), known.fits.data(), known.count}, kinds, words,
                        {vectors.data(), features.data(), g}, d, 0.07f, threads, on_shape[i].data());
  }
  check(on_shape[0] == on_shape[1], "read_on_shape depends on threads");
  pa3d::presence(logits.data(), g, k, 0.5, -0.1, 0.3, levels[0].data(), presence.data());
  for (float p : presence) check(p >= 0 && p <= 1, "presence is a probability");
}

void pictures() {
  const int64_t n = 300, f = 500, views = 3, height = 33, width = 47;
  const Floats vertices = cloud("random", n, 17), radius(n, 0.05f);
  Random random(18);
  std::vector<int32_t> faces(3 * f);
  for (int32_t& corner : faces) corner = static_cast<int32_t>(random.below(n));
  std::vector<double> matrices;
  for (double shift : {0.0, 0.4, -3.0})  // the last view has most of it behind the camera
    matrices.insert(matrices.end(), {20, 0, 24, 40, 0, 20, 16, 30, 0, 0, 1, 2 + shift});
  const std::vector<double> scale(views, 20.0);
  const pa3d::RasterViews at{views, matrices.data(), true, 0.1, height, width};
  std::vector<int32_t> id[2], dots[2];
  Floats depth[2], weights[2];
  for (int i = 0; i < 2; ++i) {
    id[i].resize(views * height * width);
    dots[i].resize(id[i].size());
    depth[i].resize(id[i].size());
    weights[i].resize(3 * id[i].size());
    pa3d::rasterize(vertices.data(), n, faces.data(), f, at, 2 * i + 1, id[i].data(), depth[i].data(),
                    weights[i].data());
    pa3d::rasterize_points(vertices.data(), radius.data(), n, at, scale.data(), 2 * i + 1, dots[i].data(), nullptr);
  }
  check(id[0] == id[1] && depth[0] == depth[1] && weights[0] == weights[1] && dots[0] == dots[1],
        "pictures depend on threads");
  exact.add(id[0]);
  exact.add(depth[0]);
  exact.add(weights[0]);
  exact.add(dots[0]);
}

// The weights of one axis for bilinear interpolation, in the plainest way.
void plain_taps(int64_t pixel, int64_t pixels, int64_t tokens, int64_t index[2], double weight[2]) {
  const double source = (pixel + 0.5) * tokens / pixels - 0.5, whole = std::floor(source);
  for (int i = 0; i < 2; ++i) index[i] = std::min<int64_t>(std::max<int64_t>(whole + i, 0), tokens - 1);
  weight[1] = source - whole;
  weight[0] = 1 - weight[1];
}

void backprojection() {
  for (int64_t channels : {1, 15, 16, 63, 64, 65, 130, -17, -64}) {
    const bool scattered = channels < 0;  // so many bands that points come again and again
    channels = std::abs(channels);
    Random random(static_cast<uint64_t>(channels));
    const int64_t views = 2, rows = 5, columns = scattered ? 120 : 7, height = scattered ? 61 : 31, width = 18, n = 40;
    Floats tokens(views * rows * columns * channels);
    std::vector<uint16_t> bf16(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {  // numbers that bf16 has, too: the upper half of their bits
      const float x = random();
      uint32_t bits;
      std::memcpy(&bits, &x, 4);
      bf16[i] = static_cast<uint16_t>(bits >> 16);
      bits &= 0xffff0000u;
      std::memcpy(&tokens[i], &bits, 4);
    }
    std::vector<int32_t> ids(views * height * width);
    for (int32_t& id : ids) id = static_cast<int32_t>(random.below(n + 3)) - 2;  // two are none, one is beyond
    const pa3d::TokenGrids grids[2] = {{tokens.data(), false, views, rows, columns, channels},
                                       {bf16.data(), true, views, rows, columns, channels}};
    const pa3d::PixelMap pixels = {ids.data(), false, height, width};

    std::vector<double> expected(n * channels);
    Indices seen(n);
    for (int64_t i = 0; i < views * height * width; ++i) {
      const int64_t id = ids[i], view = i / (height * width);
      if (id < 0 || id >= n) continue;
      ++seen[id];
      int64_t y[2], x[2];
      double wy[2], wx[2];
      plain_taps(i / width % height, height, rows, y, wy);
      plain_taps(i % width, width, columns, x, wx);
      for (int a = 0; a < 4; ++a)
        for (int64_t c = 0; c < channels; ++c)
          expected[id * channels + c] +=
              wy[a / 2] * wx[a % 2] * tokens[((view * rows + y[a / 2]) * columns + x[a % 2]) * channels + c];
    }
    for (auto mode : {pa3d::Upsampling::nearest, pa3d::Upsampling::bilinear, pa3d::Upsampling::bicubic})
      for (bool per_view : {false, true}) {
        Floats sum[2];
        Indices count[2];
        for (int i = 0; i < 2; ++i) {
          sum[i].resize(n * channels);
          count[i].resize(n);
          pa3d::backproject(grids[i], pixels, n, mode, per_view, 2 * i + 1, sum[i].data(), count[i].data());
        }
        check(sum[0] == sum[1] && count[0] == count[1], "backproject depends on threads or the type of tokens");
        exact.add(sum[0]);
        exact.add(count[0]);
        if (mode != pa3d::Upsampling::bilinear || per_view) continue;
        check(count[0] == seen, "backproject, counts");
        double error = 0;
        for (size_t i = 0; i < expected.size(); ++i) error = std::max(error, std::abs(sum[0][i] - expected[i]));
        check(error < 2e-5, "backproject, " + std::to_string(channels) + " channels");
      }
  }
}

Floats noise(int64_t n, uint64_t seed, float scale = 0.3f) {
  Random random(seed);
  Floats out(n);
  for (float& x : out) x = scale * random();
  return out;
}

void check_close(const Floats& a, const Floats& b, const std::string& what) {
  double off = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    off += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2.0);
    size += std::pow(static_cast<double>(a[i]), 2.0);
  }
  check(std::isfinite(off) && off <= 1e-6 * (size + 1e-12), what + " depends on threads by more than rounding");
}

// Everything that a step gives, one after the other.
std::vector<Floats> train_embed(pa3d::EmbedTrainer& step, int64_t patches, int64_t size, int threads) {
  const int64_t w[4] = {32, 64, 96, 32};
  const Floats rows = noise(patches * size * 3, 1), first = noise(w[0] * 3, 2), bias = noise(w[0], 3),
               second = noise(w[1] * w[0], 4), merged = noise(w[2] * w[0], 5), pooling = noise(w[2] * w[1], 6),
               last = noise(w[3] * w[2], 7), last_bias = noise(w[3], 8), grad = noise(patches * w[3], 9);
  const pa3d::EmbedWeights weights{
      {w[0], w[1], w[2], w[3]}, first.data(), bias.data(),     second.data(), merged.data(),
      pooling.data(),           last.data(),  last_bias.data()};
  const pa3d::PatchBatch batch{rows.data(), patches, size};
  std::vector<double> sums(2 * w[2]);
  step.moments(batch, weights, threads, sums.data());
  const Floats scale = noise(w[2], 10, 1), shift = noise(w[2], 11);
  Floats out(patches * w[3]), same(patches * w[3]), dlast(w[3] * w[2]), dlast_bias(w[3]);
  step.finish(scale.data(), shift.data(), out.data());
  step.backward_sums(grad.data(), sums.data(), dlast.data(), dlast_bias.data());
  Floats dfirst(w[0] * 3), dbias(w[0]), dsecond(w[1] * w[0]), dmerged(w[2] * w[0]), pooled(patches * w[1]),
      back(patches * w[2]);
  const Floats slope = noise(w[2], 12), constant = noise(w[2], 13);
  step.backward(grad.data(), scale.data(), slope.data(), constant.data(),
                {dfirst.data(), dbias.data(), dsecond.data(), dmerged.data(), pooled.data(), back.data()});
  step.infer(batch, weights, scale.data(), shift.data(), threads, same.data());
  return {out, same, dlast, dlast_bias, dfirst, dbias, dsecond, dmerged, pooled, back};
}

std::vector<Floats> train_block(pa3d::BlockTrainer& step, int64_t shapes, int64_t tokens, int threads, bool frozen) {
  const int64_t dim = 64, hidden = 96;
  const int64_t sizes[11] = {dim, dim,          3 * dim * dim, dim * dim,    dim, dim,
                             dim, hidden * dim, hidden,        dim * hidden, dim};
  std::vector<Floats> w, grads;
  for (int i = 0; i < 11; ++i) {
    w.push_back(noise(sizes[i], 20 + i));
    grads.emplace_back(frozen ? 0 : sizes[i]);
  }
  const pa3d::BlockWeights weights{dim,         2,           hidden,      1e-5f,       w[0].data(),
                                   w[1].data(), w[2].data(), w[3].data(), w[4].data(), w[5].data(),
                                   w[6].data(), w[7].data(), w[8].data(), w[9].data(), w[10].data()};
  const Floats x = noise(shapes * tokens * dim, 40, 1), pos = noise(shapes * tokens * dim, 41);
  Floats drop_path_scale(2 * shapes), y(x.size()), dx(x.size());
  for (int64_t i = 0; i < 2 * shapes; ++i) drop_path_scale[i] = i % 3 == 1 ? 0.0f : 1.5f;
  const auto saved = step.new_activations();
  step.forward(weights, x.data(), pos.data(), drop_path_scale.data(), shapes, tokens, threads, *saved, y.data());
  pa3d::BlockGradients out{};
  float** const places[11] = {&out.gamma1, &out.beta1, &out.qkv,      &out.proj, &out.proj_bias, &out.gamma2,
                              &out.beta2,  &out.fc1,   &out.fc1_bias, &out.fc2,  &out.fc2_bias};
  for (int i = 0; i < 11 && !frozen; ++i) *places[i] = grads[i].data();
  step.backward(weights, y.data(), threads, *saved, dx.data(), out);
  grads.push_back(y);
  grads.push_back(dx);
  return grads;
}

void training() {
  for (auto precision : {pa3d::Precision::fp32, pa3d::Precision::bf16}) {
    if (!pa3d::supports(precision)) continue;
    const auto embed = pa3d::make_embed_trainer(precision);
    const auto block = pa3d::make_block_trainer(precision);
    for (int64_t size : {2, 6, 34})
      for (int64_t patches : {1, 5, 9}) {
        const auto alone = train_embed(*embed, patches, size, 1);
        for (int threads : {2, 3, 5}) {
          const auto many = train_embed(*embed, patches, size, threads);
          for (size_t i = 0; i < alone.size(); ++i) check_close(alone[i], many[i], "the mini-PointNet's training");
        }
      }
    for (int64_t tokens : {1, 13, 33})
      for (int64_t shapes : {1, 4, 9})
        for (bool frozen : {false, true}) {
          const auto alone = train_block(*block, shapes, tokens, 1, frozen);
          for (int threads : {2, 3, 5}) {
            const auto many = train_block(*block, shapes, tokens, threads, frozen);
            for (size_t i = 0; i < alone.size(); ++i) check_close(alone[i], many[i], "a block's training");
          }
        }
  }
}

}  // namespace

// Every task of every phase runs once, on a slot that no other thread has at that time; exceptions come back.
void team_phases(int threads, int64_t tasks, std::chrono::microseconds pause) {
  pa3d::Team team(threads);
  check(team.size() == threads, "a team has another size");
  std::vector<std::atomic<int>> runs(tasks), users(threads);
  for (int phase = 1; phase <= 5; ++phase) {
    std::atomic<int64_t> shared{0};
    team.run(tasks, [&](int64_t task, int slot) {
      if (++users[slot] != 1) ++shared;
      ++runs[task];
      if (pause.count() > 0) std::this_thread::sleep_for(pause);  // longer than waiting threads spin
      std::atomic<int64_t> inner{0};
      pa3d::parallel_for(100, 1, 7, [&](int64_t begin, int64_t end) { inner += end - begin; });
      if (inner != 100 || (threads > 1 && tasks > 1 && pa3d::resolve_threads(7) != 1)) ++shared;
      --users[slot];
    });
    check(shared == 0, "two threads of a team had one slot, or a task was divided");
    for (const auto& count : runs) check(count == phase, "a task did not run once");
  }
  bool thrown = false;
  std::atomic<int64_t> others{0};
  try {
    team.run(tasks, [&](int64_t task, int) {
      if (task == tasks / 2) throw std::runtime_error("wanted");
      ++others;
    });
  } catch (const std::runtime_error& error) {
    thrown = std::string(error.what()) == "wanted";
  }
  check(tasks == 0 || thrown, "the exception of a task was lost");
  check(threads == 1 || others == std::max<int64_t>(tasks - 1, 0), "an exception kept other tasks from running");
  others = 0;
  team.run(tasks, [&](int64_t, int) { ++others; });
  check(others == tasks, "a team is of no use after an exception");
}

void teams() {
  for (int threads : {1, 2, 3, 5}) {
    for (int64_t tasks : {0, 1, 2, 7, 1000}) team_phases(threads, tasks, {});
    team_phases(threads, 6, std::chrono::microseconds(400));
  }
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([i] {
      for (int round = 0; round < 20; ++round) team_phases(2 + i, 16, {});
    });
  for (std::thread& caller : callers) caller.join();
  std::atomic<int64_t> sum{0};  // more tasks than fit one phase
  constexpr int64_t kTasks = (1 << 20) + 5;
  pa3d::Team(3).run(kTasks, [&](int64_t task, int) { sum += task; });
  check(sum == kTasks * (kTasks - 1) / 2, "a task of many did not run once");
}

// Arguments: names of levels and of kernels to run; without any of a kind, all of it. Levels that the processor lacks
// are left out.
int main(int argc, char** argv) {
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  const auto runs = [&](const std::string& name, const auto& all) {
    const auto is_wanted = [&](const std::string& x) {
      return std::find(wanted.begin(), wanted.end(), x) != wanted.end();
    };
    return is_wanted(name) || std::none_of(std::begin(all), std::end(all), is_wanted);
  };
  const std::map<std::string, std::function<void()>> kernels = {{"sampling", sampling},
                                                                {"neighbours", neighbours},
                                                                {"interpolation", interpolation},
                                                                {"encoding", encoding},
                                                                {"text", text},
                                                                {"surface", surface},
                                                                {"labelling", labelling},
                                                                {"outliers", outliers},
                                                                {"borders", borders},
                                                                {"names", names},
                                                                {"pictures", pictures},
                                                                {"backprojection", backprojection},
                                                                {"training", training}};
  std::vector<std::string> known{"teams"};
  for (const auto& kernel : kernels) known.push_back(kernel.first);
  if (runs("teams", known)) teams();
  uint64_t first = 0;
  for (const char* level : pa3d::kIsaNames) {
    if (!runs(level, pa3d::kIsaNames) || !pa3d::set_isa(level)) continue;
    exact = {};
    for (const auto& [name, run] : kernels)
      if (runs(name, known)) run();
    if (first == 0) first = exact.value();
    check(exact.value() == first, "exact kernels differ from those of another level");
    std::printf("%s: %lld checks, exact results %016llx\n", level, static_cast<long long>(checks.load()),
                static_cast<unsigned long long>(exact.value()));
    std::fflush(stdout);
  }
}
