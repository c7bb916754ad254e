// Backward of kOver on the CPU: parallel over tiles of fixed size, then over segments.
//
// With out_n = out_{n-1} + a_n (color_n - out_{n-1}), a gradient needs what lay below a segment and
// how much light passes those above. Dividing either out of the canvas fails where a_n is nearly 1.
// So a tile is drawn again, logging what each segment finds, and then taken apart from the top.
// What is drawn is not the colors but their products with the canvas's gradient, summed over
// channels: one number a pixel, which obeys the same formula. Long logs are cut into groups, with a
// copy of the tile where each begins. A segment's sums over each tile are kept and added in the
// order of the tiles.
#include <algorithm>
#include <memory>
#include <numeric>

#include "gather.h"
#include "passes.h"

namespace softraster {
namespace cpu {
namespace {

// Of a tile; a canvas that is not much larger than the caches is cut into bands only.
constexpr int64_t kRows = 32, kRowsApart = 128, kColumnsApart = 256;
constexpr int64_t kLogChunks = 1 << 17;  // of a group; its last block may go beyond

template <class T>
TileGrid grid_of(const DrawSegmentsParams<T>& p) {
  const bool apart = tiles_apart(p);
  const int64_t rows = apart ? kRowsApart : kRows;
  const int64_t parts = apart ? (p.columns + kColumnsApart - 1) / kColumnsApart : 1;
  return {p.rows, p.columns, (p.rows + rows - 1) / rows, parts};
}

// Which segments reach each tile, in their order, and where their sums over it are kept.
template <class T>
struct Plan {
  struct Member {
    int64_t segment, record;
  };

  TileGrid grid;
  std::vector<uint8_t> item_valid;    // (batch,)
  std::vector<int64_t> first_record;  // (batch * count + 1,)
  std::vector<int64_t> first_member;  // (batch * tiles + 1,)
  std::vector<Member> members;
  std::vector<SegmentSums> records;        // a segment's next to each other
  std::vector<double> color_records;       // (records, channels), empty without colors
  std::vector<double> background_records;  // (batch, tiles, channels)

  explicit Plan(const DrawSegmentsParams<T>& p)
      : grid(grid_of(p)),
        item_valid(p.batch, 1),
        first_record(p.batch * p.count + 1),
        first_member(p.batch * grid.tiles() + 1),
        background_records(p.batch * grid.tiles() * p.channels) {
    std::vector<int64_t> tile_of;  // of a record
    for (int64_t at = 0; at < p.batch * p.count; ++at) {
      const int64_t item = at / p.count;
      const Segment<T> s = segment_at(p, at);
      const bool finite = !p.intensity || 0 * p.intensity[at] == 0;
      if (!s.valid || !finite) item_valid[item] = 0;
      if (s.valid) {
        for_tiles(grid, s, [&](int64_t tile) { tile_of.push_back(item * grid.tiles() + tile); });
      }
      first_record[at + 1] = tile_of.size();
    }
    for (const int64_t tile : tile_of) ++first_member[tile + 1];
    std::partial_sum(first_member.begin(), first_member.end(), first_member.begin());
    members.resize(tile_of.size());
    std::vector<int64_t> next(first_member.begin(), first_member.end() - 1);
    for (int64_t at = 0; at < p.batch * p.count; ++at) {
      for (int64_t record = first_record[at]; record < first_record[at + 1]; ++record) {
        members[next[tile_of[record]]++] = {at, record};
      }
    }
    records.resize(members.size());
    color_records.resize(p.color ? members.size() * p.channels : 0);
  }

  // Of a tile.
  int64_t most_members() const {
    int64_t most = 0;
    for (size_t task = 1; task < first_member.size(); ++task) {
      most = std::max(most, first_member[task] - first_member[task - 1]);
    }
    return most;
  }
};

// A tile while it is drawn and taken apart.
template <class T>
struct TileState {
  Tile tile;
  const T* grad;              // of the canvas, from the tile's first pixel on
  int64_t stride;             // from plane to plane of it
  std::vector<T> grad_apart;  // the tile's part of it, where tiles are apart
  std::vector<T> canvas;      // what was drawn so far times `grad`, over channels
  std::vector<T> light;       // how much of it passes what lies above
  // d loss / d opacity of each segment's pixels as if no light were lost above it, a chunk after
  // the other: (chunks, kLanes).
  std::unique_ptr<AlignedLanes<T>[]> log;
  int64_t logged;
  std::vector<int64_t> starts;  // in the log, of the group's members
};

template <class T>
struct OverGrads {
  int64_t channels, stride;
  const T* grad;
  bool colored;
  T intensity;
  T* light;
  const AlignedLanes<T>* logged;  // from the segment's entry on

  template <class AddColor>
  SOFTRASTER_INLINE void operator()(int64_t pixel, int64_t lanes, const T* coverage, T* out,
                                    const AddColor& add_color) {
    T* const at = light + pixel;
    const Lanes<T> passing = load(at, lanes);
    store(passing * load(logged++->numbers), out);
    for (int64_t c = 0; colored && c < channels; ++c) {
      add_color(c, load(grad + c * stride + pixel, lanes) * passing);
    }
    store(passing * (T(1) - intensity * load(coverage)), lanes, at);
  }
};

template <bool with_grads, class T>
SOFTRASTER_INLINE void add_to_block(int64_t at, const SegmentLanes<T>& lanes, int i,
                                    const Tile& tile, const Pixels<T>& pixels, Block<T>& block) {
  block.template add<with_grads>(at, lanes.segment(i), {lanes.rows(i), tile.rows}, lanes.columns(i),
                                 pixels);
}

// Draws a segment onto the tile, logging what it finds there.
template <class T>
SOFTRASTER_INLINE void draw_onto(const DrawSegmentsParams<T>& p, ReadySegment<T>& ready,
                                 TileState<T>& state) {
  const T* const color = p.color ? p.color + ready.at * p.channels : nullptr;
  const T* const grad = state.grad;
  T* const canvas = state.canvas.data();
  const int64_t stride = state.stride;
  AlignedLanes<T>* log = state.log.get() + state.logged;
  state.starts.push_back(state.logged);
  const auto draw = [&](int64_t pixel, const T* coverage, int64_t lanes) SOFTRASTER_INLINE_LAMBDA {
    T* const at = canvas + pixel;
    Lanes<T> ink = load(grad + pixel, lanes);
    if (color) ink *= color[0];
    for (int64_t c = 1; c < p.channels; ++c) {
      ink += color[c] * load(grad + c * stride + pixel, lanes);
    }
    T inks[kLanes], pixels[kLanes];
    store(ink, inks);
    load_lanes(at, lanes, pixels);
    store(ink - load(pixels), log++->numbers);
    for (int lane = 0; lane < kLanes; ++lane) {
      pixels[lane] = over(pixels[lane], coverage[lane], inks[lane]);
    }
    store_lanes(pixels, lanes, at);
  };
  cover_segment(ready, intensity_at(p, ready.at), state.tile.layout, draw);
  state.logged = log - state.log.get();
}

template <class T>
SOFTRASTER_INLINE void take_apart(const DrawSegmentsParams<T>& p, ReadySegment<T>& ready,
                                  int64_t log_start, int64_t record, const Workspace<T>& work,
                                  TileState<T>& state, Plan<T>& plan) {
  const int64_t at = ready.at;
  const AlignedLanes<T>* const logged = state.log.get() + log_start;
  T* const light = state.light.data();
  OverGrads<T> pixel_grads = {p.channels,          state.stride, state.grad, p.color != nullptr,
                              intensity_at(p, at), light,        logged};
  SegmentSums sums = {};
  std::fill_n(work.color_sums, p.color ? p.channels : 0, 0.0);
  with_cover(ready.cover, [&](auto cover) SOFTRASTER_INLINE_LAMBDA {
    gather_segment<cover.value>(ready, state.tile.layout, work, pixel_grads, sums);
  });
  plan.records[record] = sums;
  if (p.color) {
    std::copy_n(work.color_sums, p.channels, plan.color_records.data() + record * p.channels);
  }
}

// Draws members of the tile from `begin` on, until `end` or until the log is long; returns where it
// stopped.
template <class T>
SOFTRASTER_INLINE int64_t draw_group(const DrawSegmentsParams<T>& p, int64_t begin, int64_t end,
                                     const Workspace<T>& work, TileState<T>& state,
                                     const Plan<T>& plan) {
  const bool cached = tiles_apart(p) || canvas_bytes(p) <= kCacheBytes / 4;
  const Pixels<T> pixels = {cached ? nullptr : state.grad, p.channels, state.stride,
                            state.tile.layout};
  state.logged = 0;
  state.starts.clear();
  int64_t next = begin;
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    const bool more = next < end && state.logged < kLogChunks;
    return more ? plan.members[next++].segment : int64_t{-1};
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    add_to_block<false>(at, lanes, i, state.tile, pixels, *work.block);
    return true;
  };
  const auto visit = [&](ReadySegment<T>& ready)
                         SOFTRASTER_INLINE_LAMBDA { draw_onto(p, ready, state); };
  for_ready<false>(p, *work.block, next_at, add, visit);
  return next;
}

// Takes the group of members from `begin` on apart, the last one first.
template <class T>
SOFTRASTER_INLINE void take_group_apart(const DrawSegmentsParams<T>& p, int64_t begin,
                                        const Workspace<T>& work, TileState<T>& state,
                                        Plan<T>& plan) {
  const Pixels<T> pixels = {nullptr, 0, 0, state.tile.layout};
  int64_t left = static_cast<int64_t>(state.starts.size()), taken = left;
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    return left > 0 ? plan.members[begin + --left].segment : int64_t{-1};
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    add_to_block<true>(at, lanes, i, state.tile, pixels, *work.block);
    return true;
  };
  const auto visit = [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA {
    --taken;
    take_apart(p, ready, state.starts[taken], plan.members[begin + taken].record, work, state,
               plan);
  };
  for_ready<true>(p, *work.block, next_at, add, visit);
}

// The light that falls on the background, times the canvas's gradient, summed over the tile.
template <class T>
SOFTRASTER_INLINE double background_sum(const T* grad, const std::vector<T>& light) {
  constexpr size_t kTurn = 1024;  // numbers that are added up in T
  double sum = 0;
  for (size_t begin = 0; begin < light.size(); begin += kTurn) {
    const size_t end = std::min(light.size(), begin + kTurn);
    T lanes[2 * kLanes] = {};
    size_t at = begin;
    for (; at + 2 * kLanes <= end; at += 2 * kLanes) {
      for (int lane = 0; lane < 2 * kLanes; ++lane) {
        lanes[lane] += grad[at + lane] * light[at + lane];
      }
    }
    for (; at < end; ++at) lanes[0] += grad[at] * light[at];
    for (const T lane : lanes) sum += lane;
  }
  return sum;
}

template <class T>
SOFTRASTER_INLINE void fill_background(const DrawSegmentsParams<T>& p, int64_t item,
                                       TileState<T>& state) {
  std::fill(state.canvas.begin(), state.canvas.end(), T(0));
  for (int64_t c = 0; p.background && c < p.channels; ++c) {
    const T ground = p.background[item * p.channels + c];
    const T* const grad = state.grad + c * state.stride;
    T* const canvas = state.canvas.data();
    for (int64_t at = 0; at < state.tile.size(); ++at) canvas[at] += ground * grad[at];
  }
}

template <class T>
SOFTRASTER_INLINE void tile_backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                     int64_t task, const Workspace<T>& work, TileState<T>& state,
                                     Plan<T>& plan) {
  const int64_t item = task / plan.grid.tiles();
  const int64_t begin = plan.first_member[task], end = plan.first_member[task + 1];
  fill_background(p, item, state);
  std::fill(state.light.begin(), state.light.end(), T(1));
  std::vector<int64_t> groups = {begin};
  std::vector<T> copies;  // of the canvas where each group but the first begins
  while (groups.back() < end) {
    if (groups.back() > begin) {
      copies.insert(copies.end(), state.canvas.begin(), state.canvas.end());
    }
    groups.push_back(draw_group(p, groups.back(), end, work, state, plan));
  }
  for (size_t group = groups.size() - 1; group-- > 0;) {
    if (groups[group + 1] < end) {  // the last one's log is there
      if (group == 0) {
        fill_background(p, item, state);
      } else {
        std::copy_n(copies.data() + (group - 1) * state.canvas.size(), state.canvas.size(),
                    state.canvas.data());
      }
      draw_group(p, groups[group], groups[group + 1], work, state, plan);
    }
    take_group_apart(p, groups[group], work, state, plan);
  }
  if (!g.grad_background) return;
  for (int64_t c = 0; c < p.channels; ++c) {
    plan.background_records[task * p.channels + c] =
        background_sum(state.grad + c * state.stride, state.light);
  }
}

SOFTRASTER_VECTOR_CLONES void tile_clone(const DrawSegmentsParams<float>& p,
                                         const DrawSegmentsGrads<float>& g, int64_t task,
                                         const Workspace<float>& work, TileState<float>& state,
                                         Plan<float>& plan) {
  tile_backward(p, g, task, work, state, plan);
}
SOFTRASTER_VECTOR_CLONES void tile_clone(const DrawSegmentsParams<double>& p,
                                         const DrawSegmentsGrads<double>& g, int64_t task,
                                         const Workspace<double>& work, TileState<double>& state,
                                         Plan<double>& plan) {
  tile_backward(p, g, task, work, state, plan);
}

template <class T>
void add_up(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g, const Plan<T>& plan) {
  parallel_for(p.batch * p.count, 1024, [&](int64_t begin, int64_t end) {
    std::vector<double> colors(p.channels);
    for (int64_t at = begin; at < end; ++at) {
      SegmentSums sums = {};
      std::fill(colors.begin(), colors.end(), 0.0);
      for (int64_t r = plan.first_record[at]; r < plan.first_record[at + 1]; ++r) {
        sums += plan.records[r];
        for (int64_t c = 0; p.color && c < p.channels; ++c) {
          colors[c] += plan.color_records[r * p.channels + c];
        }
      }
      const bool valid = plan.item_valid[at / p.count];
      write_grad(p, g, at, valid, sums);
      for (int64_t c = 0; g.grad_color && c < p.channels; ++c) {
        write_color_grad(p, g, at, c, valid, colors[c]);
      }
    }
  });
  for (int64_t at = 0; g.grad_background && at < p.batch * p.channels; ++at) {
    const int64_t item = at / p.channels, c = at % p.channels;
    double sum = 0;
    for (int64_t tile = 0; tile < plan.grid.tiles(); ++tile) {
      sum += plan.background_records[(item * plan.grid.tiles() + tile) * p.channels + c];
    }
    g.grad_background[at] = plan.item_valid[item] ? T(sum) : std::numeric_limits<T>::quiet_NaN();
  }
}

// The part of the canvas's gradient that belongs to a tile, and 0 to the left and right of it.
template <class T>
void copy_grad(const DrawSegmentsParams<T>& p, const T* grad, TileState<T>& state) {
  constexpr int64_t kLineNumbers = 64 / sizeof(T), kRowsAhead = 4;
  const Layout layout = state.tile.layout;
  const Range rows = state.tile.rows, columns = layout.columns;
  state.stride = state.tile.size();
  state.grad_apart.resize(p.channels * state.stride);
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const T* const from = grad + c * p.pixels() + row * p.columns;
      const T* const ahead = from + (row + kRowsAhead < rows.end ? kRowsAhead * p.columns : 0);
      for (int64_t column = columns.begin; column < columns.end; column += kLineNumbers) {
        __builtin_prefetch(ahead + column);
      }
      T* const to = state.grad_apart.data() + c * state.stride + layout.at(row, columns.begin);
      std::fill_n(to - kLanes, kLanes, T(0));
      std::copy(from + columns.begin, from + columns.end, to);
      std::fill_n(to + (columns.end - columns.begin), kLanes, T(0));
    }
  }
  state.grad = state.grad_apart.data();
}

template <class T>
void backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g) {
  Plan<T> plan(p);
  const TileGrid& grid = plan.grid;
  // What a group may log: a segment has no more chunks than that, and a block so many segments.
  const int64_t most_columns = tiles_apart(p) ? kColumnsApart : p.columns;
  const int64_t of_segment =
      (tiles_apart(p) ? kRowsApart : kRows) * (whole_chunks(most_columns) / kLanes + 1);
  const int64_t room =
      std::min(plan.most_members() * of_segment, kLogChunks + Block<T>::kSegments * of_segment);
  parallel_for(p.batch * grid.tiles(), 1, [&](int64_t begin, int64_t end) {
    const WorkspaceBuffer<T> buffer(p);
    TileState<T> state;
    state.log.reset(new AlignedLanes<T>[room]);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t item = task / grid.tiles(), tile = task % grid.tiles();
      if (!plan.item_valid[item]) continue;
      const Range rows = grid.band(tile / grid.parts), columns = grid.part(tile % grid.parts);
      const T* const grad = g.grad_canvas + item * p.channels * p.pixels();
      state.tile = tile_of(p, rows, columns);
      if (tiles_apart(p)) {
        copy_grad(p, grad, state);
      } else {
        state.grad = grad + rows.begin * p.columns, state.stride = p.pixels();
      }
      state.canvas.resize(state.tile.size());
      state.light.resize(state.tile.size());
      tile_clone(p, g, task, buffer.work, state, plan);
    }
  });
  add_up(p, g, plan);
}

}  // namespace

void over_backward(const DrawSegmentsParams<float>& p, const DrawSegmentsGrads<float>& g) {
  backward(p, g);
}
void over_backward(const DrawSegmentsParams<double>& p, const DrawSegmentsGrads<double>& g) {
  backward(p, g);
}

}  // namespace cpu
}  // namespace softraster
