// Forward on CUDA, and what the backward passes of kMax and kSoftor want to know first: one block
// per tile, which walks the segments in drawing order. So a pixel has one order, whatever the grid.
#include "passes.h"
#include "tile.h"

namespace softraster {
namespace cuda {
namespace {

template <class T, int kChannels>
struct PixelState {
  T value[kChannels];
  T best = 0;                // kMax, kWinner: the largest coverage * intensity so far
  int32_t marks[kChannels];  // as Scratch::marks
};

template <class T, int kChannels>
__device__ void merge_pixel(Merge merge, T opacity, const T* color, int32_t index,
                            PixelState<T, kChannels>& pixel) {
  if (merge == Merge::kMax || merge == Merge::kWinner) {
    if (!(opacity > pixel.best)) return;
    pixel.best = opacity;
    pixel.marks[0] = index;
    for (int c = 0; c < kChannels; ++c) pixel.value[c] = opacity * color[c];
    return;
  }
  for (int c = 0; c < kChannels; ++c) {
    T& value = pixel.value[c];
    if (merge == Merge::kSum) {
      value += opacity * color[c];
    } else if (merge == Merge::kSoftor) {
      value = softor(value, opacity * color[c]);
    } else if (merge == Merge::kOver) {
      value = over(value, opacity, color[c]);
    } else {
      const T factor = T(1) - opacity * color[c];
      const bool is_zero = fabs(factor) < zero_factor<T>();
      value = is_zero ? value : value * factor;
      pixel.marks[c] += is_zero ? 1 : 0;
    }
  }
}

template <class T, int kChannels>
__device__ PixelState<T, kChannels> first_state(Merge merge, const DrawSegmentsParams<T>& p,
                                                const Tile& tile) {
  PixelState<T, kChannels> pixel;
  for (int c = 0; c < kChannels; ++c) {
    const int64_t channel = tile.first_channel + c;
    pixel.value[c] = merge == Merge::kRest ? T(1) : T(0);
    pixel.marks[c] = merge == Merge::kRest ? 0 : kNobody;
    if (merge == Merge::kOver && p.background && channel < p.channels) {
      pixel.value[c] = p.background[tile.item * p.channels + channel];
    }
  }
  return pixel;
}

template <class T, int kChannels>
__device__ void store(Merge merge, const DrawSegmentsParams<T>& p, const Tile& tile, bool broken,
                      const PixelState<T, kChannels>& pixel, T* canvas, int32_t* marks) {
  const Pixel own = own_pixel();
  const int64_t column = tile.bounds.left + own.column, row = tile.bounds.top + own.row;
  if (column >= p.columns || row >= p.rows) return;
  const int64_t at = row * p.columns + column;
  if (merge == Merge::kWinner) {
    marks[tile.item * p.pixels() + at] = broken ? kEverybody : pixel.marks[0];
    return;
  }
  for (int c = 0; c < kChannels; ++c) {
    const int64_t channel = tile.first_channel + c;
    if (channel >= p.channels) break;
    const int64_t plane = (tile.item * p.channels + channel) * p.pixels();
    canvas[plane + at] = broken ? std::numeric_limits<T>::quiet_NaN() : pixel.value[c];
    if (merge == Merge::kRest) marks[plane + at] = broken ? kEverybody : pixel.marks[c];
  }
}

// One block per tile and group of channels, a thread is a pixel.
template <Coverage kCoverage, int kChannels, class T>
__global__ void __launch_bounds__(kThreads)
    draw_tiles(Merge merge, DrawSegmentsParams<T> p, Prepared<T> prepared, T* canvas,
               int32_t* marks) {
  using Memory = Stage<T, false, kChannels>;
  SOFTRASTER_DYNAMIC_SHARED(Memory, stage);
  const TileGrid grid(p);
  const Pixel own = own_pixel();
  for (int64_t block = blockIdx.x; block < grid.tiles; block += gridDim.x) {
    const Tile tile = grid.tile(block);
    const bool broken = prepared.broken[tile.item] != 0;
    PixelState<T, kChannels> pixel = first_state<T, kChannels>(merge, p, tile);
    Walk walk;
    while (!broken) {
      const int listed = next_segments<false>(p, prepared, tile, walk, *stage);
      if (listed == 0) break;
      for (int first = 0; first < listed; first += kStage) {
        const int count = listed - first < kStage ? listed - first : kStage;
        fill_stage<kCoverage>(p, prepared, tile, stage->list + first, count, *stage);
        for (unsigned left = segments_in_part<kCoverage>(tile, count, *stage); left;
             left &= left - 1) {
          const int i = __ffs(int(left)) - 1;
          const bool boxed = kCoverage == Coverage::kGrid;
          const T coverage = cover_staged<kCoverage>(stage->segments[i], stage->places[i], own,
                                                     boxed ? stage->box_x[i][own.column] : T(0),
                                                     boxed ? stage->box_y[i][own.row] : T(0))
                                 .coverage;
          merge_pixel(merge, stage->intensity[i] * coverage, stage->color[i], stage->index[i],
                      pixel);
        }
      }
    }
    store(merge, p, tile, broken, pixel, canvas, marks);
  }
}

template <Coverage kCoverage, int kChannels, class T>
int launch_tiles(Merge merge, const DrawSegmentsParams<T>& p, const Prepared<T>& prepared,
                 T* canvas, int32_t* marks, void* stream) {
  SOFTRASTER_LAUNCH((draw_tiles<kCoverage, kChannels, T>), TileGrid(p).tiles, kThreads,
                    sizeof(Stage<T, false, kChannels>), stream, merge, p, prepared, canvas, marks);
  return last_error();
}

template <class T>
int draw(Merge merge, const DrawSegmentsParams<T>& p, const Prepared<T>& prepared, T* canvas,
         int32_t* marks, void* stream) {
  if (p.batch == 0) return 0;
  if (const int error = prepare(p, prepared, false, stream)) return error;
  const bool one = p.channels == 1;
  if (p.coverage == Coverage::kGrid) {
    const auto launch =
        one ? launch_tiles<Coverage::kGrid, 1, T> : launch_tiles<Coverage::kGrid, kMaxChannels, T>;
    return launch(merge, p, prepared, canvas, marks, stream);
  }
  const auto launch = one ? launch_tiles<Coverage::kCapsule, 1, T>
                          : launch_tiles<Coverage::kCapsule, kMaxChannels, T>;
  return launch(merge, p, prepared, canvas, marks, stream);
}

template <class T>
int64_t bytes(const DrawSegmentsParams<T>& p) {
  Arena arena(nullptr);
  Prepared<T> prepared(p, arena);
  return arena.used();
}

template <class T>
int draw_canvas(const DrawSegmentsParams<T>& p, T* canvas, void* workspace, void* stream) {
  constexpr Merge kMerges[] = {Merge::kSum, Merge::kMax, Merge::kSoftor, Merge::kOver};
  Arena arena(workspace);
  const Prepared<T> prepared(p, arena);
  return draw(kMerges[static_cast<int64_t>(p.composite)], p, prepared, canvas,
              static_cast<int32_t*>(nullptr), stream);
}

template <class T>
int survey(const DrawSegmentsParams<T>& p, const Prepared<T>& prepared, const Scratch<T>& scratch,
           void* stream) {
  if (p.composite == Composite::kMax) {
    DrawSegmentsParams<T> one = p;  // the winner is the same in all channels
    one.channels = 1, one.color = nullptr;
    return draw<T>(Merge::kWinner, one, prepared, nullptr, scratch.marks, stream);
  }
  if (p.composite == Composite::kSoftor) {
    return draw(Merge::kRest, p, prepared, scratch.rest, scratch.marks, stream);
  }
  return 0;
}

}  // namespace

int64_t draw_workspace_bytes(const DrawSegmentsParams<float>& p) { return bytes(p); }
int64_t draw_workspace_bytes(const DrawSegmentsParams<double>& p) { return bytes(p); }

int launch_draw_segments(const DrawSegmentsParams<float>& p, float* canvas, void* workspace,
                         void* stream) {
  return draw_canvas(p, canvas, workspace, stream);
}
int launch_draw_segments(const DrawSegmentsParams<double>& p, double* canvas, void* workspace,
                         void* stream) {
  return draw_canvas(p, canvas, workspace, stream);
}

int fill_scratch(const DrawSegmentsParams<float>& p, const Prepared<float>& prepared,
                 const Scratch<float>& scratch, void* stream) {
  return survey(p, prepared, scratch, stream);
}
int fill_scratch(const DrawSegmentsParams<double>& p, const Prepared<double>& prepared,
                 const Scratch<double>& scratch, void* stream) {
  return survey(p, prepared, scratch, stream);
}

int set_device(int device) { return use_device(device); }
const char* error_string(int error) { return describe(error); }

}  // namespace cuda
}  // namespace softraster
