namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "attention.inl"

typedef int16_t vs_unaligned __attribute__((vector_size(PA3D_W * 2), aligned(2), may_alias));

static inline vf load_int16(const int16_t* p) {
#if PA3D_NEON >= 1
  return (vf)vcvtq_f32_s32(vmovl_s16(vld1_s16(p)));  // g++ 12 would convert one number at a time
#else
  return __builtin_convertvector(*reinterpret_cast<const vs_unaligned*>(p), vf);
#endif
}

// An int16 matrix (n, k) with a scale per row, in the panels that gemm.inl has for float32. A panel is converted to
// float32 right before its product. So loading, storing and streaming the weights takes half the memory.
struct PackedInt16 {
  int64_t n = 0, k = 0, panels = 0;
  Buffer<int16_t> data;
  Buffer<float> scale, bias;

  void pack(const int16_t* w, int64_t rows, int64_t columns, const float* row_scale, const float* b) {
    n = rows;
    k = columns;
    panels = (n + kNR - 1) / kNR;
    data.resize(panels * k * kNR);
    scale.resize(panels * kNR);
    bias.resize(panels * kNR);
    for (int64_t row = 0; row < n; ++row) {
      int16_t* out = data.data() + row / kNR * k * kNR + row % kNR;
      for (int64_t i = 0; i < k; ++i) out[i * kNR] = w[row * k + i];
    }
    std::copy_n(row_scale, n, scale.data());
    std::copy_n(b, n, bias.data());
  }
  void dequantize_panel(int64_t panel, float* out) const {
    const int16_t* in = data.data() + panel * k * kNR;
    for (int64_t i = 0; i < k * kNR; i += PA3D_W) store(out + i, load_int16(in + i));
  }
};

// out (m, n) = act(A W^T scale + bias) in the columns of panels [from, to). With `add`, it is added to out instead.
template <ActFn act, bool add>
static void linear_int16(const float* a, int64_t m, int64_t stride, const PackedInt16& w, int64_t from, int64_t to,
                         float* panel, float* out, int64_t out_stride) {
  alignas(64) float tile[kMR * kNR];
  for (int64_t p = from; p < to; ++p) {
    w.dequantize_panel(p, panel);
    for (int64_t row = 0; row < m; row += kMR) {
      const int rows = static_cast<int>(std::min<int64_t>(kMR, m - row));
      microkernel_rows<F32, kMR>(rows, a + row * stride, stride, panel, w.k, tile);
      for (int64_t j = 0; j < kNR; j += PA3D_W) {
        const vf scale = load(w.scale.data() + p * kNR + j), bias = load(w.bias.data() + p * kNR + j);
        for (int i = 0; i < rows; ++i) {
          float* out_ptr = out + (row + i) * out_stride + p * kNR + j;
          const vf value = activate<act, F32>(load(tile + i * kNR + j) * scale + bias);
          store(out_ptr, add ? load(out_ptr) + value : value);
        }
      }
    }
  }
}

struct LayerNorm {
  Buffer<float> gamma, beta;
  void load_weights(const TextWeights& weights, const std::string& name, int64_t width) {
    gamma.resize(width);
    beta.resize(width);
    std::copy_n(weights.floats(name + ".weight", width), width, gamma.data());
    std::copy_n(weights.floats(name + ".bias", width), width, beta.data());
  }
  // LayerNorm of one row, in place.
  void normalize(float* row, int64_t width, float eps) const {
    vf sum = vf{}, squares = vf{};
    for (int64_t i = 0; i < width; i += PA3D_W) sum += load(row + i);
    const vf mean = splat(reduce_add(sum) / static_cast<float>(width));
    for (int64_t i = 0; i < width; i += PA3D_W) {
      const vf d = load(row + i) - mean;
      squares += d * d;
    }
    const vf factor = splat(1.0f / std::sqrt(reduce_add(squares) / static_cast<float>(width) + eps));
    for (int64_t i = 0; i < width; i += PA3D_W)
      store(row + i, (load(row + i) - mean) * factor * load(gamma.data() + i) + load(beta.data() + i));
  }
};

struct TextBlock {
  PackedInt16 qkv, proj, fc1, fc2;
  LayerNorm attention_norm, norm;
};

class TextEncoderOf : public TextEncoder {
 public:
  TextEncoderOf(const TextConfig& c, const TextWeights& weights, int threads) : c_(c), blocks_(c.depth) {
    // Names of tensors are those of scripts/convert_minilm.py: words are token embeddings; out, up and down are proj,
    // fc1 and fc2.
    token_embedding_ = weights.integers("words", c.vocabulary * c.width);
    token_scale_ = weights.floats("words.scale", c.vocabulary);
    position_embedding_ = weights.floats("positions", c.max_tokens * c.width);
    embedding_norm_.load_weights(weights, "embedding_norm", c.width);
    struct Job {
      PackedInt16* matrix;
      int64_t n, k;
      const int16_t* rows;
      const float *scale, *bias;
    };
    std::vector<Job> jobs;
    for (int64_t i = 0; i < c.depth; ++i) {
      TextBlock& block = blocks_[i];
      const std::string layer = "layers." + std::to_string(i) + ".";
      auto add = [&](PackedInt16& matrix, const char* name, int64_t n, int64_t k) {
        jobs.push_back({&matrix, n, k, weights.integers(layer + name, n * k),
                        weights.floats(layer + name + ".scale", n), weights.floats(layer + name + ".bias", n)});
      };
      add(block.qkv, "qkv", 3 * c.width, c.width);
      add(block.proj, "out", c.width, c.width);
      add(block.fc1, "up", c.hidden, c.width);
      add(block.fc2, "down", c.width, c.hidden);
      block.attention_norm.load_weights(weights, layer + "attention_norm", c.width);
      block.norm.load_weights(weights, layer + "norm", c.width);
    }
    parallel_for(static_cast<int64_t>(jobs.size()), 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Job& job = jobs[i];
        job.matrix->pack(job.rows, job.n, job.k, job.scale, job.bias);
      }
    });
  }

  const TextConfig& config() const override { return c_; }

  struct ThreadWorkspace {
    AttentionWorkspace<F32> attention;
    Buffer<float> panel;
  };
  struct TextWorkspace : Workspace {
    Buffer<float> x, qkv, attn_out, hidden;
    std::vector<int64_t> starts;
    std::vector<ThreadWorkspace> threads;
  };

  std::unique_ptr<Workspace> workspace() const override { return std::make_unique<TextWorkspace>(); }

  void encode(const int32_t* ids, const int64_t* lengths, int64_t n, int threads, Workspace& workspace,
              float* out) const override {
    int64_t total = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (lengths[i] < 1 || lengths[i] > c_.max_tokens)
        throw std::invalid_argument("a text has " + std::to_string(lengths[i]) + " tokens; expected 1 to " +
                                    std::to_string(c_.max_tokens));
      total += lengths[i];
    }
    for (int64_t i = 0; i < total; ++i)
      if (ids[i] < 0 || ids[i] >= c_.vocabulary)
        throw std::invalid_argument("token " + std::to_string(ids[i]) + " is not in the vocabulary");
    for (int64_t i = 0; i < n;) {
      int64_t count = 0, tokens = 0, longest = 0;
      while (i + count < n && (count == 0 || tokens + lengths[i + count] <= kBatchTokens)) {
        tokens += lengths[i + count];
        longest = std::max(longest, lengths[i + count++]);
      }
      encode_batch(ids, lengths + i, count, tokens, longest, resolve_threads(threads),
                   static_cast<TextWorkspace&>(workspace), out + i * c_.width);
      ids += tokens;
      i += count;
    }
  }

 private:
  static constexpr int64_t kBatchTokens = 512;  // bounds the memory of long lists

  void encode_batch(const int32_t* ids, const int64_t* lengths, int64_t n, int64_t tokens, int64_t longest,
                    int n_threads, TextWorkspace& s, float* out) const {
    const int64_t width = c_.width, hidden = c_.hidden, head_dim = width / c_.heads, qkv_width = 3 * width;
    s.x.reserve(tokens * width);
    s.qkv.reserve(tokens * qkv_width);
    s.attn_out.reserve(tokens * width);
    s.hidden.reserve(tokens * hidden);
    s.starts.resize(n + 1);
    for (int64_t i = 0; i < n; ++i) s.starts[i + 1] = s.starts[i] + lengths[i];
    if (static_cast<int>(s.threads.size()) < n_threads) s.threads.resize(n_threads);
    for (ThreadWorkspace& thread : s.threads) {
      thread.attention.reserve(longest, head_dim);
      thread.panel.reserve(std::max(width, hidden) * kNR);
    }
    float *x = s.x.data(), *qkv = s.qkv.data(), *attn_out = s.attn_out.data(), *mlp_hidden = s.hidden.data();

    Team team(n_threads);
    const int64_t tasks = kTasksPerThread * team.size();
    const auto for_rows = [&](const auto& body) {
      const Chunks rows(tokens, tasks, 1);
      team.run(rows.count, [&](int64_t task, int) {
        for (int64_t row = rows.begin(task); row < rows.end(task); ++row) body(row);
      });
    };
    const auto for_columns = [&](const PackedInt16& w, const auto& body) {  // body(from, to, buffer for a panel)
      const Chunks panels(w.panels, tasks, 1);
      team.run(panels.count, [&](int64_t task, int slot) {
        body(panels.begin(task), panels.end(task), s.threads[slot].panel.data());
      });
    };
    team.run(n, [&](int64_t text, int) {
      for (int64_t position = 0; position < lengths[text]; ++position) {
        const int64_t row = s.starts[text] + position;
        embed(ids[row], position, x + row * width);
      }
    });
    for (const TextBlock& block : blocks_) {
      for_columns(block.qkv, [&](int64_t from, int64_t to, float* panel) {
        linear_int16<ActFn::none, false>(x, tokens, width, block.qkv, from, to, panel, qkv, qkv_width);
      });
      team.run(n * c_.heads, [&](int64_t task, int slot) {
        const int64_t text = task / c_.heads, start = s.starts[text];
        attention_head<F32, F32>(qkv + start * qkv_width, qkv_width, lengths[text], width, task % c_.heads, head_dim, 0,
                                 lengths[text], s.threads[slot].attention, attn_out + start * width, width);
      });
      for_columns(block.proj, [&](int64_t from, int64_t to, float* panel) {
        linear_int16<ActFn::none, true>(attn_out, tokens, width, block.proj, from, to, panel, x, width);
      });
      for_rows([&](int64_t row) { block.attention_norm.normalize(x + row * width, width, c_.norm_eps); });
      for_columns(block.fc1, [&](int64_t from, int64_t to, float* panel) {
        linear_int16<ActFn::gelu, false>(x, tokens, width, block.fc1, from, to, panel, mlp_hidden, hidden);
      });
      for_columns(block.fc2, [&](int64_t from, int64_t to, float* panel) {
        linear_int16<ActFn::none, true>(mlp_hidden, tokens, hidden, block.fc2, from, to, panel, x, width);
      });
      for_rows([&](int64_t row) { block.norm.normalize(x + row * width, width, c_.norm_eps); });
    }
    team.run(n, [&](int64_t text, int) { pool(x + s.starts[text] * width, lengths[text], out + text * width); });
  }

  void embed(int32_t id, int64_t position, float* row) const {
    const int16_t* embedding = token_embedding_ + id * c_.width;
    const float* position_row = position_embedding_ + position * c_.width;
    const vf scale = splat(token_scale_[id]);
    for (int64_t i = 0; i < c_.width; i += PA3D_W)
      store(row + i, load_int16(embedding + i) * scale + load(position_row + i));
    embedding_norm_.normalize(row, c_.width, c_.norm_eps);
  }

  void pool(const float* x, int64_t length, float* out) const {
    vf squares = vf{};
    for (int64_t i = 0; i < c_.width; i += PA3D_W) {
      vf sum = vf{};
      for (int64_t row = 0; row < length; ++row) sum += load(x + row * c_.width + i);
      sum *= splat(1.0f / static_cast<float>(length));
      squares += sum * sum;
      store(out + i, sum);
    }
    const vf inverse = splat(1.0f / std::sqrt(reduce_add(squares)));
    for (int64_t i = 0; i < c_.width; i += PA3D_W) store(out + i, load(out + i) * inverse);
  }

  TextConfig c_;
  const int16_t* token_embedding_;
  const float *token_scale_, *position_embedding_;
  LayerNorm embedding_norm_;
  std::vector<TextBlock> blocks_;
};

static std::unique_ptr<TextEncoder> text_encoder(const TextConfig& c, const TextWeights& weights, int threads) {
  return std::make_unique<TextEncoderOf>(c, weights, threads);
}

}  // namespace PA3D_NS
}  // namespace pa3d
