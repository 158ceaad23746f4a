// The whole forward pass: points -> patches -> tokens -> unit vectors in the text space.
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
  float min_sq_norm = 1e-3f, norm_eps = 1e-5f, batch_norm_eps = 1e-5f;
};

enum class Precision { fp32, bf16, int8 };

// Finds a weight by its name in the published layout; `count` is how many float32 values are expected. Throws
// std::invalid_argument when there is none or its size differs.
using WeightSource = std::function<const float*(const std::string& name, int64_t count)>;

// Seconds spent in each stage of one call, added up over calls by the caller.
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
  // points (n, 3) in the model's axes, n >= 1, finite. centers (G) and members (G, M) are indices into points; tokens
  // (G, C), features (G, D). With fewer points than a patch takes, members repeat from the start.
  virtual void forward(const float* points, int64_t n, int threads, Workspace& workspace, int64_t* centers,
                       int64_t* members, float* tokens, float* features, StageSeconds* times) const = 0;
  virtual const EncoderConfig& config() const = 0;
};

// Packs the weights for the level of the processor in use. Throws std::invalid_argument for a bad configuration, or
// when the precision needs instructions that this level lacks.
std::unique_ptr<Encoder> make_encoder(const EncoderConfig& config, Precision precision, const WeightSource& weights);
bool supports(Precision precision);

}  // namespace pa3d
