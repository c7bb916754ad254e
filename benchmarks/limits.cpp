// What one core can do, and nothing else: its peak of fused multiply-adds, of the exponential that
// the kernels use, of reciprocals and square roots, and the speed of its memory. limits.py compiles
// it for the machine and reads the JSON that it prints. Best of many repetitions: a peak.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "../csrc/fast_exp.h"

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));
constexpr int kLanes = kBytes / sizeof(float);
constexpr int kRepetitions = 200;

volatile float sink;

// The best rate, in units a second, of a body that does `units` of work.
template <class Body>
double best_rate(double units, int repetitions, const Body& body) {
  double best = 0;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (units / time.count() > best) best = units / time.count();
  }
  return best;
}

// Independent chains, as many as hide the latency of two units and fit the registers.
double fma_rate() {
  constexpr int kChains = 10, kSteps = 100000;
  return best_rate(1.0 * kChains * kSteps * kLanes, kRepetitions, [] {
    Vector chains[kChains], scale = Vector{} + 0.999f, shift = Vector{} + sink;
    for (int chain = 0; chain < kChains; ++chain) chains[chain] = Vector{} + float(chain);
    for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 10
      for (int chain = 0; chain < kChains; ++chain) chains[chain] = chains[chain] * scale + shift;
    }
    Vector total = {};
    for (int chain = 0; chain < kChains; ++chain) total += chains[chain];
    sink = total[0];
  });
}

// Of a function of one number, over an array that stays in the first cache.
template <class Function>
double map_rate(const Function& function) {
  constexpr int kNumbers = 2048, kSteps = 200;
  alignas(64) static float in[kNumbers], out[kNumbers];
  for (int n = 0; n < kNumbers; ++n) in[n] = 0.5f + n / float(kNumbers);
  return best_rate(1.0 * kNumbers * kSteps, kRepetitions, [&] {
    for (int step = 0; step < kSteps; ++step) {
      function(in, out, kNumbers);
      asm volatile("" : : "r"(in), "r"(out) : "memory");
    }
    sink = out[kNumbers / 2];
  });
}

double exp_rate() {
  return map_rate([](const float* in, float* out, int count) {
    for (int n = 0; n < count; ++n) out[n] = softraster::fast_exp(in[n]);
  });
}

double divide_rate() {
  return map_rate([](const float* in, float* out, int count) {
    for (int n = 0; n < count; ++n) out[n] = 1.f / in[n];
  });
}

double sqrt_rate() {
  return map_rate([](const float* in, float* out, int count) {
    for (int n = 0; n < count; ++n) out[n] = __builtin_sqrtf(in[n]);
  });
}

// The processor's estimate and one Newton step, where it has one: about as exact as a division.
double estimate_rate() {
#if defined(__AVX512F__)
  return map_rate([](const float* in, float* out, int count) {
    for (int n = 0; n < count; n += 16) {
      const __m512 x = _mm512_loadu_ps(in + n), guess = _mm512_rcp14_ps(x);
      const __m512 error = _mm512_fnmadd_ps(x, guess, _mm512_set1_ps(1));
      _mm512_storeu_ps(out + n, _mm512_fmadd_ps(guess, error, guess));
    }
  });
#elif defined(__AVX2__) && defined(__FMA__)
  return map_rate([](const float* in, float* out, int count) {
    for (int n = 0; n < count; n += 8) {
      const __m256 x = _mm256_loadu_ps(in + n), guess = _mm256_rcp_ps(x);
      const __m256 error = _mm256_fnmadd_ps(x, guess, _mm256_set1_ps(1));
      _mm256_storeu_ps(out + n, _mm256_fmadd_ps(guess, error, guess));
    }
  });
#else
  return 0;
#endif
}

double sqrt_estimate_rate() {
#if defined(__AVX512F__)
  return map_rate([](const float* in, float* out, int count) {
    for (int n = 0; n < count; n += 16) {
      const __m512 x = _mm512_loadu_ps(in + n), guess = _mm512_rsqrt14_ps(x);
      const __m512 root = _mm512_mul_ps(x, guess), half = _mm512_mul_ps(guess, _mm512_set1_ps(.5f));
      const __m512 error = _mm512_fnmadd_ps(root, root, x);
      _mm512_storeu_ps(out + n, _mm512_fmadd_ps(half, error, root));
    }
  });
#else
  return 0;
#endif
}

// The best of many passages through memory, each timed by itself: so short that the process is
// seldom interrupted, so far apart that none finds its part in a cache.
template <class Passage>
double memory_rate(std::vector<float>& memory, const Passage& passage) {
  constexpr size_t kPassage = 2 << 20;
  double best = 0;
  for (int round = 0; round < 8; ++round) {
    for (size_t at = 0; at + kPassage <= memory.size(); at += kPassage) {
      const double rate =
          best_rate(kPassage * sizeof(float), 1, [&] { passage(memory.data() + at, kPassage); });
      if (rate > best) best = rate;
    }
  }
  return best;
}

double write_rate(std::vector<float>& memory) {
  return memory_rate(memory, [](float* data, size_t count) {
    std::memset(data, 0, count * sizeof(float));
    asm volatile("" : : "r"(data) : "memory");
  });
}

double read_rate(std::vector<float>& memory) {
  return memory_rate(memory, [](const float* data, size_t count) {
    Vector sums[8] = {};
    for (size_t n = 0; n < count; n += 8 * kLanes) {
      for (int part = 0; part < 8; ++part) {
        Vector more;
        std::memcpy(&more, data + n + part * kLanes, sizeof more);
        sums[part] += more;
      }
    }
    Vector total = {};
    for (const Vector& sum : sums) total += sum;
    sink = total[0];
  });
}

}  // namespace

int main() {
  std::vector<float> memory(64 << 20, 1.f);  // 256 MB: more than any cache
  const double divide = divide_rate(), estimate = estimate_rate();
  const double root = sqrt_rate(), root_estimate = sqrt_estimate_rate();
  std::printf(
      "{\"lanes\": %d, \"fma\": %.4g, \"exp\": %.4g, \"divide\": %.4g, \"estimate\": %.4g, "
      "\"sqrt\": %.4g, \"sqrt_estimate\": %.4g, \"write\": %.4g, \"read\": %.4g}\n",
      kLanes, fma_rate(), exp_rate(), divide, estimate, root, root_estimate, write_rate(memory),
      read_rate(memory));
}
