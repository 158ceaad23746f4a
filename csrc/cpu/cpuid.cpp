#include "cpuid.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace pa3d {
namespace {

Isa detect() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!avx2) return Isa::generic;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx512) return Isa::avx2;
  const bool bf16_and_vnni = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return bf16_and_vnni ? Isa::avx512_bf16 : Isa::avx512;
#elif defined(__aarch64__)
  bool dotprod = false, bf16 = false, i8mm = false;
#if defined(PA3D_NEON_EXTENSIONS) && defined(__linux__)
  const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  dotprod = first >> 20 & 1;  // the bits are those of HWCAP_ASIMDDP, HWCAP2_I8MM and HWCAP2_BF16 in Linux
  i8mm = second >> 13 & 1;
  bf16 = second >> 14 & 1;
#elif defined(PA3D_NEON_EXTENSIONS) && defined(__APPLE__)
  const auto has = [](const char* feature) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  dotprod = has("hw.optional.arm.FEAT_DotProd");
  i8mm = has("hw.optional.arm.FEAT_I8MM");
  bf16 = has("hw.optional.arm.FEAT_BF16");
#endif
  if (!dotprod) return Isa::neon;
  return bf16 && i8mm ? Isa::neon_bf16 : Isa::neon_dotprod;
#else
  return Isa::generic;
#endif
}

// The index of a name in kIsaNames, which is the value of its Isa, or -1.
int parse(const char* name) {
  int index = 0;
  for (const char* known : kIsaNames) {
    if (std::strcmp(name, known) == 0) return index;
    ++index;
  }
  return -1;
}

const char* g_rejected = nullptr;

int initial_index() {
  const int best = static_cast<int>(best_isa());
  const char* wanted = std::getenv("PA3D_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  const int index = parse(wanted);
  if (index >= 0 && index <= best) return index;
  g_rejected = wanted;
  return best;
}

std::atomic<int>& current_index() {
  static std::atomic<int> index{initial_index()};
  return index;
}

}  // namespace

Isa best_isa() {
  static const Isa best = detect();
  return best;
}

Isa isa() { return static_cast<Isa>(current_index().load(std::memory_order_relaxed)); }

bool set_isa(const char* name) {
  const int index = parse(name);
  if (index < 0 || index > static_cast<int>(best_isa())) return false;
  current_index().store(index, std::memory_order_relaxed);
  return true;
}

const char* isa_name(Isa isa) { return kIsaNames[static_cast<int>(isa)]; }

const char* rejected_isa() {
  isa();
  return g_rejected;
}

}  // namespace pa3d
