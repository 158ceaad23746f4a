#include "passes.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "parallel.h"
#include "pool.h"

namespace pa3d {

Passes passes_for(const EncoderConfig& c, int64_t n) {
  if (c.pass_points == 0) return {1, n, c.patches};
  const int64_t count = std::max<int64_t>(2, (2 * n + c.pass_points) / (2 * c.pass_points));
  const int64_t share = (n + count - 1) / count;
  return {count, std::min(n, std::max(c.pass_points, share)), c.patches / 2};
}

void pass_indices(const Passes& passes, int64_t n, int64_t* index) {
  constexpr uint64_t kGolden = 2654435769;  // 2^32 * 0.618...; odd, so no two points have the same key
  std::vector<uint64_t> order(n);           // the key above, the point below
  for (int64_t i = 0; i < n; ++i) order[i] = (static_cast<uint64_t>(i) * kGolden) << 32 | static_cast<uint64_t>(i);
  std::sort(order.begin(), order.end());
  for (int64_t pass = 0; pass < passes.count; ++pass) {
    int64_t at = pass * n / passes.count;
    for (int64_t i = 0; i < passes.points; ++i, at = at + 1 == n ? 0 : at + 1)
      *index++ = static_cast<int64_t>(order[at] & 0xffffffff);
  }
}

namespace {

class EncoderOfPasses final : public Encoder {
 public:
  EncoderOfPasses(const EncoderConfig& config, std::unique_ptr<Encoder> inner)
      : config_(config), inner_(std::move(inner)) {}

  std::unique_ptr<Encoder::Workspace> workspace() const override { return std::make_unique<Workspace>(); }
  const EncoderConfig& config() const override { return config_; }

  void forward(const float* points, int64_t n, int threads, Encoder::Workspace& workspace, int64_t* center_idx,
               int64_t* members, float* tokens, float* features, StageSeconds* times) const override {
    auto& w = static_cast<Workspace&>(workspace);
    const Passes passes = passes_for(config_, n);
    const int64_t used = passes.points, p = passes.patches;
    if (w.n != n) {
      w.n = 0;
      w.index.resize(passes.count * used);
      pass_indices(passes, n, w.index.data());
      w.n = n;
    }
    w.times.assign(passes.count, {});
    const auto run = [&](int64_t pass, int team) {
      const int64_t* const index = w.index.data() + pass * used;
      std::vector<float> own(3 * used);
      for (int64_t i = 0; i < used; ++i) std::copy_n(points + 3 * index[i], 3, &own[3 * i]);
      int64_t* const center = center_idx + pass * p;
      int64_t* const member = members + pass * p * config_.patch_size;
      const auto inner = pool_.acquire([&] { return inner_->workspace(); });
      inner_->forward(own.data(), used, team, *inner, center, member,
                      tokens ? tokens + pass * p * config_.dim : nullptr, features + pass * p * config_.text_dim,
                      &w.times[pass]);
      for (int64_t i = 0; i < p; ++i) center[i] = index[center[i]];
      for (int64_t i = 0; i < p * config_.patch_size; ++i) member[i] = index[member[i]];
    };
    const int64_t team = resolve_threads(threads);
    const auto begun = std::chrono::steady_clock::now();
    if (passes.count < team) {
      for (int64_t pass = 0; pass < passes.count; ++pass) run(pass, threads);
    } else {  // one thread for each pass, without barriers
      parallel_for(passes.count, 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t pass = begin; pass < end; ++pass) run(pass, 1);
      });
    }
    if (times == nullptr) return;
    // Passes run side by side: the time of all of them, divided as the sum of their stages is.
    const double all = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    StageSeconds sum;
    for (const StageSeconds& t : w.times) {
      sum.sample += t.sample;
      sum.embed += t.embed;
      sum.blocks += t.blocks;
      sum.project += t.project;
    }
    const double share = all / (sum.sample + sum.embed + sum.blocks + sum.project);
    times->sample += share * sum.sample;
    times->embed += share * sum.embed;
    times->blocks += share * sum.blocks;
    times->project += share * sum.project;
  }

 private:
  struct Workspace final : Encoder::Workspace {
    int64_t n = 0;  // of which `index` is
    std::vector<int64_t> index;
    std::vector<StageSeconds> times;
  };

  EncoderConfig config_;
  std::unique_ptr<Encoder> inner_;
  mutable Pool<Encoder::Workspace> pool_;
};

}  // namespace

std::unique_ptr<Encoder> encoder_of_passes(const EncoderConfig& config, std::unique_ptr<Encoder> inner) {
  return std::make_unique<EncoderOfPasses>(config, std::move(inner));
}

}  // namespace pa3d
