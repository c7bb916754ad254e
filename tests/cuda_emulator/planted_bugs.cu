// Kernels with a bug each, which the emulator or AddressSanitizer must find.
#include "launch.h"
#include "probes.h"

namespace probes {
namespace {

constexpr unsigned kAllLanes = 0xffffffffu;

__global__ void half_returns(int* out) {
  if (threadIdx.x >= kThreads / 2) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void two_functions(int* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    out[threadIdx.x] = __syncthreads_or(1);
  }
}

__global__ void half_a_warp(int* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_xor_sync(kAllLanes, int(threadIdx.x), 1);
  __syncthreads();
}

__global__ void half_a_mask(int* out) {
  out[threadIdx.x] = __shfl_xor_sync(0xffffu, int(threadIdx.x), 1);
}

__global__ void hasty_reverse(const float* in, float* out) {
  SOFTRASTER_DYNAMIC_SHARED(float, numbers);
  numbers[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = numbers[kThreads - 1 - threadIdx.x];
}

__global__ void unordered_sum(const float* in, int64_t count, float* sum) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at < count) atomicAdd(sum, in[at]);
}

__global__ void one_too_many(float* out) {
  SOFTRASTER_DYNAMIC_SHARED(float, numbers);
  numbers[threadIdx.x + 1] = 0;
  out[threadIdx.x] = numbers[threadIdx.x];
}

template <class T>
void run(void (*kernel)(T*)) {
  std::vector<T> out(kThreads);
  SOFTRASTER_LAUNCH(kernel, 1, kThreads, kThreads * sizeof(T), nullptr, out.data());
}

}  // namespace

void return_before_barrier() { run(half_returns); }
void wait_in_two_functions() { run(two_functions); }
void wait_for_half_a_warp() { run(half_a_warp); }
void shuffle_with_half_a_mask() { run(half_a_mask); }
void write_beyond_shared_memory() { run(one_too_many); }

std::vector<float> reverse_without_barrier(const std::vector<float>& numbers) {
  std::vector<float> out(kThreads);
  SOFTRASTER_LAUNCH(hasty_reverse, 1, kThreads, kThreads * sizeof(float), nullptr, numbers.data(),
                    out.data());
  return out;
}

float sum_in_any_order(const std::vector<float>& numbers) {
  const int64_t count = numbers.size();
  float sum = 0;
  SOFTRASTER_LAUNCH(unordered_sum, (count + kThreads - 1) / kThreads, kThreads, 0, nullptr,
                    numbers.data(), count, &sum);
  return sum;
}

}  // namespace probes
