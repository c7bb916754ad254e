// Kernels that use all of the emulator's functions, for tests that know what must come out.
#include "launch.h"
#include "probes.h"

namespace probes {
namespace {

using softraster::cuda::describe;
using softraster::cuda::last_error;

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarp = 32;

// One block per row, a thread is every kThreads-th number.
__global__ void __launch_bounds__(kThreads)
    compact_rows(const int32_t* numbers, int32_t columns, int32_t* out) {
  SOFTRASTER_DYNAMIC_SHARED(int32_t, warp_counts);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  numbers += int64_t(blockIdx.x) * columns;
  out += int64_t(blockIdx.x) * columns;
  int found = 0;
  for (int32_t at = threadIdx.x; at < columns; at += kThreads) {
    const bool wanted = __ldg(numbers + at) != 0;
    const unsigned mask = __ballot_sync(kAllLanes, wanted);
    if (lane == 0) warp_counts[warp] = __popc(mask);
    __syncthreads();
    int before = found;
    for (int other = 0; other < kThreads / kWarp; ++other) {
      before += other < warp ? warp_counts[other] : 0;
      found += warp_counts[other];
    }
    if (wanted) out[before + __popc(mask & ((1u << lane) - 1))] = at;
    __syncthreads();
  }
  for (int32_t at = found + threadIdx.x; at < columns; at += kThreads) out[at] = -1;
}

__global__ void call_warp_functions(const int32_t* numbers, int64_t* out) {
  const int lane = threadIdx.x % kWarp;
  const int32_t number = numbers[threadIdx.x];
  const bool odd = number % 2 != 0;
  int64_t results[kWarpFunctions];
  results[0] = __shfl_sync(kAllLanes, number, 7 * lane);
  results[1] = int64_t(__shfl_up_sync(kAllLanes, double(number), 3));
  results[2] = __shfl_down_sync(kAllLanes, int64_t(number) << 32, 5);
  results[3] = int64_t(__shfl_xor_sync(kAllLanes, float(number), 9));
  __syncwarp();
  results[4] = __ballot_sync(kAllLanes, odd);
  results[5] = __any_sync(kAllLanes, number == 1);
  results[6] = __all_sync(kAllLanes, number != 1);
  results[7] = __popc(unsigned(number));
  results[8] = __ffs(number);
  results[9] = __shfl_xor_sync(kAllLanes, odd, 1);
  for (int i = 0; i < kWarpFunctions; ++i) out[i * kThreads + threadIdx.x] = results[i];
}

__global__ void call_votes(const int32_t* predicates, int32_t* out) {
  const int32_t own = predicates[threadIdx.x];
  out[threadIdx.x] = __syncthreads_or(own);
  out[kThreads + threadIdx.x] = __syncthreads_and(own);
  out[2 * kThreads + threadIdx.x] = __syncthreads_count(own);
}

// A thread is a number.
__global__ void call_atomics(const int32_t* numbers, int64_t count, int32_t* largest,
                             unsigned* bits, unsigned long long* sum) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  atomicAdd(sum, static_cast<unsigned long long>(numbers[at]));
  atomicMax(largest, numbers[at]);
  atomicOr(bits, unsigned(numbers[at]));
}

__global__ void take_turns(int32_t* next, int32_t* out) {
  out[int64_t(blockIdx.x) * kThreads + threadIdx.x] = atomicAdd(next, 1);
}

template <class T, int kStep>
__global__ void count_up(T* number) {
  *number += kStep;
}

}  // namespace

std::vector<int32_t> compact(const std::vector<int32_t>& numbers, int32_t columns) {
  std::vector<int32_t> out(numbers.size());
  SOFTRASTER_LAUNCH(compact_rows, int64_t(numbers.size()) / columns, kThreads,
                    kThreads / kWarp * sizeof(int32_t), nullptr, numbers.data(), columns,
                    out.data());
  return out;
}

std::vector<int64_t> warp_functions(const std::vector<int32_t>& numbers) {
  std::vector<int64_t> out(kWarpFunctions * kThreads);
  SOFTRASTER_LAUNCH(call_warp_functions, 1, kThreads, 0, nullptr, numbers.data(), out.data());
  return out;
}

std::vector<int32_t> votes(const std::vector<int32_t>& predicates) {
  std::vector<int32_t> out(kVotes * kThreads);
  SOFTRASTER_LAUNCH(call_votes, 1, kThreads, 0, nullptr, predicates.data(), out.data());
  return out;
}

std::vector<int64_t> atomics(const std::vector<int32_t>& numbers) {
  const int64_t count = numbers.size();
  int32_t largest = INT32_MIN;
  unsigned bits = 0;
  unsigned long long sum = 0;
  SOFTRASTER_LAUNCH(call_atomics, (count + kThreads - 1) / kThreads, kThreads, 0, nullptr,
                    numbers.data(), count, &largest, &bits, &sum);
  return {int64_t(sum), largest, int64_t(bits)};
}

std::vector<int32_t> turns(int64_t blocks) {
  std::vector<int32_t> out(blocks * kThreads);
  int32_t next = 0;
  SOFTRASTER_LAUNCH(take_turns, blocks, kThreads, 0, nullptr, &next, out.data());
  return out;
}

std::string try_launch(int64_t blocks, int threads, size_t shared_bytes) {
  double number = 0;
  SOFTRASTER_LAUNCH((count_up<double, 2>), blocks, threads, shared_bytes, nullptr, &number);
  const std::string said = describe(last_error());
  return said + ": " + std::to_string(int64_t(number) / 2) + " threads ran";
}

}  // namespace probes
