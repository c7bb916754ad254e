// Small kernels that show what the emulator does right and what it finds. Arrays are host memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace probes {

constexpr int kThreads = 128;
constexpr int kWarpFunctions = 10;
constexpr int kVotes = 3;

// primitives.cu, all of it right.

// For each row of `columns` numbers (a multiple of kThreads), the indices of those that are not 0
// in ascending order; then -1.
std::vector<int32_t> compact(const std::vector<int32_t>& numbers, int32_t columns);
// (kWarpFunctions, kThreads): what each thread's call of every warp function returns.
std::vector<int64_t> warp_functions(const std::vector<int32_t>& numbers);
// (kVotes, kThreads): __syncthreads_or, _and and _count of the predicates.
std::vector<int32_t> votes(const std::vector<int32_t>& predicates);
// The sum, the largest and the union of the bits of the numbers.
std::vector<int64_t> atomics(const std::vector<int32_t>& numbers);
// (blocks, kThreads): when each thread ran.
std::vector<int32_t> turns(int64_t blocks);
// What describe() says of a launch, and how many threads ran.
std::string try_launch(int64_t blocks, int threads, size_t shared_bytes);

// planted_bugs.cu

void return_before_barrier();
void wait_in_two_functions();
void wait_for_half_a_warp();
void shuffle_with_half_a_mask();
// Reverses the numbers without waiting until they are in shared memory.
std::vector<float> reverse_without_barrier(const std::vector<float>& numbers);
// Adds the numbers in whatever order the threads run.
float sum_in_any_order(const std::vector<float>& numbers);
void write_beyond_shared_memory();

}  // namespace probes
