// Fuzzes csrc/pa3d.h: its files and its arguments. The entry is libFuzzer's; compilers without libFuzzer get the
// mutator below it, which runs for a number of seconds.
//
//     capi FOLDER SECONDS SEED
//
// FOLDER has model.safetensors (tiny), tokenizer.json, weights.safetensors, vectors.safetensors, and gets current: the
// input that runs, which remains when the process dies. The first byte of an input says what it is.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "pa3d.h"

namespace {

std::string g_folder = ".";
pa3d_model* g_model = nullptr;
pa3d_text* g_text = nullptr;
pa3d_info g_info;
std::map<std::string, long> g_outcomes;

using Bytes = std::vector<uint8_t>;

Bytes read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

void write_file(const std::string& path, const uint8_t* data, size_t size) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
}

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "FAILURE: %s\n", what);
  std::abort();
}

// A status and its message, without the numbers in it.
pa3d_status noted(const char* call, pa3d_status status) {
  std::string outcome = std::string(call) + " " + std::to_string(status);
  if (status != PA3D_OK) {
    const char* message = pa3d_error_message();
    check(message != nullptr && message[0] != 0, "a failure has no message");
    check(status != PA3D_INTERNAL && status != PA3D_MEMORY, message);
    outcome += " ";
    for (const char* c = message; *c && outcome.size() < 100; ++c)
      if (*c < '0' || *c > '9') outcome += *c;
  }
  if (g_outcomes.size() < 5000) ++g_outcomes[outcome];
  return status;
}

// Takes values off the front of an input; zeros where it has ended.
struct Source {
  const uint8_t* data;
  size_t size;
  template <class T>
  T take() {
    T value{};
    const size_t n = std::min(size, sizeof(T));
    std::memcpy(&value, data, n);
    data += n;
    size -= n;
    return value;
  }
};

void fuzz_arguments(Source in) {
  const uint8_t kind = in.take<uint8_t>();
  pa3d_options options = pa3d_default_options();
  options.up = static_cast<pa3d_up>(in.take<int8_t>());
  options.assign = static_cast<pa3d_assign>(in.take<int8_t>());
  options.none = kind & 8 ? in.take<float>() : 0.0f;
  options.sample = kind & 16 ? in.take<int16_t>() : 0;
  options.seed = in.take<uint64_t>();
  options.threads = kind & 32 ? in.take<int8_t>() % 3 : 1;
  int64_t n = in.take<int8_t>(), n_faces = in.take<int8_t>(), count = in.take<int8_t>() % 8;
  std::vector<float> points(3 * static_cast<size_t>(std::max<int64_t>(n, 0)));
  for (float& x : points) x = kind & 64 ? in.take<float>() : in.take<int8_t>();
  std::vector<int32_t> faces(3 * static_cast<size_t>(std::max<int64_t>(n_faces, 0)));
  for (int32_t& f : faces) f = kind & 128 ? in.take<int32_t>() : in.take<int8_t>();
  const size_t rows = std::max<int64_t>(n, 1), cells = rows * 8;
  std::vector<int32_t> labels(rows, -7), face_labels(faces.size() / 3 + 1, -7);
  std::vector<float> scores(cells), face_scores((faces.size() / 3 + 1) * 8);
  const float* at = points.empty() ? nullptr : points.data();
  const int32_t* corners = faces.empty() ? nullptr : faces.data();
  pa3d_status status = PA3D_OK;
  switch (kind % 4) {
    case 0: {
      const auto& i = g_info;
      std::vector<double> wide(points.size());
      for (double& x : wide) x = kind & 64 ? in.take<double>() : 1e6 + in.take<int8_t>();
      std::vector<float> moved(points.size());
      double origin[3];
      if (noted("center", pa3d_center(wide.empty() ? nullptr : wide.data(), n, moved.data(), origin)) == PA3D_OK)
        for (double x : origin) check(std::isfinite(x), "an origin is not finite");
      std::vector<float> centers(3 * i.patches), tokens(i.patches * i.width), features(i.patches * i.text_width);
      std::vector<int64_t> members(i.patches * i.patch_size);
      status = pa3d_encode(g_model, at, n, &options, centers.data(), members.data(), tokens.data(), features.data());
      noted("encode", status);
      if (status == PA3D_OK)
        for (int64_t m : members) check(m >= 0 && m < n, "a member is no point");
      return;
    }
    case 1:
    case 2: {
      std::vector<float> vectors(static_cast<size_t>(std::max<int64_t>(count, 0)) * g_info.text_width);
      for (float& x : vectors) x = kind & 64 ? in.take<float>() : in.take<int8_t>();
      if (kind % 4 == 1)
        status = noted("cloud", pa3d_segment_vectors(g_model, at, n, vectors.data(), count, &options, labels.data(),
                                                     scores.data()));
      else
        status = noted("mesh",
                       pa3d_segment_mesh_vectors(g_model, at, n, corners, n_faces, vectors.data(), count, &options,
                                                 labels.data(), scores.data(), face_labels.data(), face_scores.data()));
      break;
    }
    default: {  // names, which end at zeros
      std::vector<std::string> names;
      std::string rest(reinterpret_cast<const char*>(in.data), in.size);
      for (int64_t i = 0; i < count; ++i) {
        names.push_back(rest.c_str());
        rest.erase(0, std::min(rest.size(), names.back().size() + 1));
      }
      std::vector<const char*> parts;
      for (const auto& name : names) parts.push_back(name.c_str());
      const char* modes[] = {nullptr, "part", "category", "x"};
      std::vector<float> vectors(8 * 384);
      // The tiny model has another width, which is found after the names are checked: few names are encoded.
      noted("names", pa3d_segment(g_model, g_text, at, n, parts.data(), count, rest.c_str(), &options, labels.data(),
                                  scores.data()));
      if (count == 1 && kind & 4 && options.seed % 32 == 0)
        noted("embed", pa3d_embed_text(g_text, parts.data(), count, rest.c_str(), modes[options.seed / 32 % 4], 1,
                                       vectors.data()));
      return;
    }
  }
  if (status != PA3D_OK) return;
  for (int64_t i = 0; i < n; ++i) check(labels[i] >= -1 && labels[i] < count, "a label is no part");
  for (int64_t i = 0; i < n * count; ++i) check(std::isfinite(scores[i]), "a score is not finite");
}

// Loads text vectors and segments a cloud and a mesh by all their names.
void fuzz_vectors(const std::string& path) {
  pa3d_vectors* bank = nullptr;
  if (noted("vectors", pa3d_vectors_load(path.c_str(), &bank)) == PA3D_OK) {
    pa3d_vectors_info info;
    check(pa3d_vectors_get_info(bank, &info) == PA3D_OK && info.count > 0 && info.width > 0, "no info of vectors");
    check(pa3d_vectors_name(bank, info.count) == nullptr, "a name after the last");
    std::vector<const char*> names;
    for (int64_t i = 0; i < info.count; ++i) names.push_back(pa3d_vectors_name(bank, i));
    std::vector<float> rows(info.count * g_info.text_width);
    if (noted("select", pa3d_vectors_select(bank, g_model, names.data(), info.count, info.category, rows.data())) ==
        PA3D_OK) {
      const float points[] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1};
      const int32_t faces[] = {0, 1, 2, 1, 2, 3};
      const pa3d_shape shapes[] = {{points, 4, nullptr, 0}, {points, 4, faces, 2}};
      int32_t labels[4], more[4], of_faces[2];
      const pa3d_result results[] = {{labels, nullptr, nullptr, nullptr, nullptr},
                                     {more, nullptr, of_faces, nullptr, nullptr}};
      check(pa3d_segment_batch(g_model, shapes, 2, rows.data(), info.count, nullptr, results) == PA3D_OK,
            pa3d_error_message());
      for (int32_t label : labels) check(label >= 0 && label < info.count, "a label is no part");
    }
  } else {
    check(bank == nullptr, "vectors in spite of a failure");
  }
  pa3d_vectors_free(bank);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string path = g_folder + "/input";
  if (data[0] == 'M') {
    write_file(path, data + 1, size - 1);
    pa3d_model* model = nullptr;
    if (noted("model", pa3d_model_load(path.c_str(), nullptr, &model)) == PA3D_OK) {
      const float points[] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1};
      pa3d_info info;
      check(pa3d_model_info(model, &info) == PA3D_OK, "no info");
      if (info.patches * info.patch_size < 1 << 16)
        noted("run", pa3d_encode(model, points, 4, nullptr, nullptr, nullptr, nullptr, nullptr));
    } else {
      check(model == nullptr, "a model in spite of a failure");
    }
    pa3d_model_free(model);
  } else if (data[0] == 'T' || data[0] == 'W') {
    write_file(path, data + 1, size - 1);
    pa3d_text* text = nullptr;
    // Without the right weights, because they take long to pack: a tokenizer that can be read ends in their refusal.
    const std::string other = g_folder + (data[0] == 'T' ? "/model.safetensors" : "/tokens-small.json");
    const auto [weights, tokens] = data[0] == 'T' ? std::pair(other, path) : std::pair(path, other);
    check(noted("text", pa3d_text_load(weights.c_str(), tokens.c_str(), &text)) != PA3D_OK, "loaded without weights");
    check(text == nullptr, "an encoder in spite of a failure");
    pa3d_text_free(text);
  } else if (data[0] == 'V') {
    write_file(path, data + 1, size - 1);
    fuzz_vectors(path);
  } else {
    fuzz_arguments({data + 1, size - 1});
  }
  return 0;
}

#ifndef PA3D_LIBFUZZER
namespace {

const char* kWords[] = {"\"",
                        "{",
                        "}",
                        "[",
                        "]",
                        ",",
                        ":",
                        "null",
                        "-1",
                        "1e999",
                        "18446744073709551616",
                        "0.5",
                        "\\ud800",
                        "\\u0000",
                        "F32",
                        "F16",
                        "dtype",
                        "shape",
                        "data_offsets",
                        "__metadata__",
                        "config",
                        "NaN",
                        "\xff"};

Bytes mutated(const std::vector<Bytes>& corpus, std::mt19937_64& rng) {
  auto below = [&](size_t n) { return static_cast<size_t>(rng() % n); };
  Bytes data = corpus[below(corpus.size())];
  for (size_t i = 1 + below(4); i-- > 0 && data.size() > 1;) {
    // The beginning of a file is its header, where most can go wrong.
    const size_t at = 1 + below(below(2) ? data.size() - 1 : std::min<size_t>(data.size() - 1, 600));
    const uint64_t extremes[] = {0,      1,          0x7f,       0x80,  0xff,       0x7fff,
                                 0xffff, 0x7fffffff, 0x80000000, ~0ull, 0x7f800000, 0x7fc00000};
    switch (below(8)) {
      case 0:
        data[at] ^= static_cast<uint8_t>(1 << below(8));
        break;
      case 1:
        data[at] = static_cast<uint8_t>(rng());
        break;
      case 2:
        data.resize(at);
        break;
      case 3: {
        const uint64_t value = extremes[below(std::size(extremes))];
        std::memcpy(&data[at], &value, std::min(data.size() - at, size_t{1} << below(4)));
        break;
      }
      case 4: {
        const char* word = kWords[below(std::size(kWords))];
        data.insert(data.begin() + static_cast<std::ptrdiff_t>(at), word, word + std::strlen(word));
        break;
      }
      case 5: {  // digits of a number
        const auto digit = std::find_if(data.begin() + static_cast<std::ptrdiff_t>(at), data.end(),
                                        [](uint8_t c) { return c >= '0' && c <= '9'; });
        if (digit != data.end()) *digit = static_cast<uint8_t>('0' + below(10));
        break;
      }
      case 6: {
        const size_t end = std::min(data.size(), at + 1 + below(40));
        data.erase(data.begin() + static_cast<std::ptrdiff_t>(at), data.begin() + static_cast<std::ptrdiff_t>(end));
        break;
      }
      default: {
        const Bytes& other = corpus[below(corpus.size())];
        if (other[0] == data[0] && other.size() > at) {
          data.resize(at);
          data.insert(data.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
        }
      }
    }
  }
  return data;
}

Bytes seed(char kind, const Bytes& content) {
  Bytes data{static_cast<uint8_t>(kind)};
  data.insert(data.end(), content.begin(), content.end());
  return data;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return std::fprintf(stderr, "capi FOLDER SECONDS SEED [INPUT]\n"), 2;
  g_folder = argv[1];
  const double seconds = std::atof(argv[2]);
  std::mt19937_64 rng(std::strtoull(argv[3], nullptr, 10));
  const std::string folder = g_folder + "/";
  check(pa3d_model_load((folder + "model.safetensors").c_str(), "fp32", &g_model) == PA3D_OK, pa3d_error_message());
  check(
      pa3d_text_load((folder + "weights.safetensors").c_str(), (folder + "tokenizer.json").c_str(), &g_text) == PA3D_OK,
      pa3d_error_message());
  pa3d_model_info(g_model, &g_info);
  if (argc > 4) {  // an input that failed before
    const Bytes data = read_file(argv[4]);
    return LLVMFuzzerTestOneInput(data.data(), data.size());
  }
  Bytes tokens = read_file(folder + "tokens-small.json"), small = read_file(folder + "model.safetensors");
  const Bytes vectors = read_file(folder + "vectors.safetensors");
  std::vector<Bytes> corpus = {seed('M', small), seed('W', small), seed('T', tokens), seed('V', vectors)};
  for (int kind = 0; kind < 256; ++kind) {
    Bytes data{'A', static_cast<uint8_t>(kind), 1, 2};
    while (data.size() < 400) data.push_back(static_cast<uint8_t>(rng() % 7));
    data[4 + (kind & 8 ? 4 : 0) + (kind & 16 ? 2 : 0) + 8 + (kind & 32 ? 1 : 0)] = 6;  // points
    corpus.push_back(data);
  }
  for (int copies = 0; copies < 40; ++copies)
    for (int i = 0; i < 2; ++i) corpus.push_back(corpus[i]);
  for (int copies = 0; copies < 8; ++copies)
    for (int i = 2; i < 4; ++i) corpus.push_back(corpus[i]);

  const size_t most = 1 << 20;
  const int file = open((folder + "current").c_str(), O_RDWR | O_CREAT, 0644);
  check(file >= 0 && ftruncate(file, most) == 0, "no file for the current input");
  auto* current = static_cast<uint8_t*>(mmap(nullptr, most, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  const auto began = std::chrono::steady_clock::now();
  long inputs = 0;
  double spent = 0, slowest = 0;
  while (spent < seconds) {
    const Bytes data = mutated(corpus, rng);
    if (data.size() + 8 > most) continue;
    const uint64_t size = data.size();
    std::memcpy(current, &size, 8);
    std::memcpy(current + 8, data.data(), size);
    alarm(10);  // ends the process
    LLVMFuzzerTestOneInput(data.data(), data.size());
    alarm(0);
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    slowest = std::max(slowest, now - spent);
    spent = now;
    ++inputs;
  }
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  std::printf("{\"inputs\": %ld, \"seconds\": %.1f, \"slowest\": %.2f, \"rss\": %ld, \"outcomes\": %zu}\n", inputs,
              spent, slowest, used.ru_maxrss * 1024, g_outcomes.size());
  if (std::getenv("PA3D_FUZZ_OUTCOMES"))
    for (const auto& [outcome, count] : g_outcomes) std::printf("%8ld %s\n", count, outcome.c_str());
  pa3d_model_free(g_model);
  pa3d_text_free(g_text);
}
#endif
