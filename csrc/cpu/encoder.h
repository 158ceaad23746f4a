// The whole forward pass: points -> patches -> tokens -> features, which are unit vectors in the text space.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace pa3d {

struct EncoderConfig {
  int64_t patches = 128, patch_size = 32, dim = 384, depth = 12, heads = 6, mlp_hidden = 1536;
  int64_t embed[4] = {128, 256, 512, 256};  // widths of the mini-PointNet's layers
  int64_t pos_hidden = 128, text_dim = 1280;
  int64_t pass_points = 0;  // 0: one pass over all points; see passes.h
  float min_sq_norm = 1e-3f, norm_eps = 1e-5f, batch_norm_eps = 1e-5f;
};

enum class Precision { fp32, bf16, int8 };

// Returns the weight of a name in the published checkpoint; `count` is the expected number of float32 values. Throws
// std::invalid_argument if there is no such weight or its size differs.
using WeightSource = std::function<const float*(const std::string& name, int64_t count)>;

// Seconds spent in each stage. Encoder::forward adds to them, so they sum over calls.
struct StageSeconds {
  double sample = 0, embed = 0, blocks = 0, project = 0;
};

// Immutable after construction: any number of threads may call forward at once, each with a workspace of its own.
class Encoder {
 public:
  class Workspace {
   public:
    virtual ~Workspace() = default;
  };

  virtual ~Encoder() = default;
  virtual std::unique_ptr<Workspace> workspace() const = 0;
  // points (n, 3) in the model's axes, n >= 1, finite. center_idx (G) and members (G, M) are indices into points;
  // tokens (G, C) or null; features (G, D); times may be null. G is passes_for(config(), n).total() (passes.h). If
  // there are fewer points than a patch has, its members repeat from the first on.
  virtual void forward(const float* points, int64_t n, int threads, Workspace& workspace, int64_t* center_idx,
                       int64_t* members, float* tokens, float* features, StageSeconds* times) const = 0;
  virtual const EncoderConfig& config() const = 0;
};

// Packs the weights for the instruction set in use. Throws std::invalid_argument for a bad configuration, or if the
// instruction set does not support the precision.
std::unique_ptr<Encoder> make_encoder(const EncoderConfig& config, Precision precision, const WeightSource& weights);
// Whether the instruction set in use supports the precision.
bool supports(Precision precision);
// What a processor needs for the precision, for messages.
const char* requirement(Precision precision);

}  // namespace pa3d
