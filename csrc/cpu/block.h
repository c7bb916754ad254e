// Segments made ready to be drawn, a few at a time. What is written for a segment, its tables above
// all, is read at other places and widths than it was written, which stalls while it is on its way
// to memory: so it is left alone until the whole block is ready.
#pragma once
#include <algorithm>
#include <memory>
#include <type_traits>

#include "../draw_segments.h"
#include "chunks.h"
#include "segment_lanes.h"

namespace softraster {
namespace cpu {

// Pixels that segments will be drawn onto or gathered from.
template <class T>
struct Pixels {
  const T* first;  // null: they are in the cache, and need not be asked for
  int64_t planes, stride;
  Layout layout;  // of each plane
};

constexpr int64_t kCacheBytes = 1 << 20;  // of a core's own cache

template <class T>
SOFTRASTER_INLINE int64_t canvas_bytes(const DrawSegmentsParams<T>& p) {
  return p.channels * p.pixels() * static_cast<int64_t>(sizeof(T));
}

template <class T>
SOFTRASTER_INLINE Layout canvas_layout(const DrawSegmentsParams<T>& p) {
  return {{0, p.columns}, p.columns, p.columns, 0};
}

template <class T>
SOFTRASTER_INLINE Pixels<T> pixels_of(const T* canvas, bool cached,
                                      const DrawSegmentsParams<T>& p) {
  return {cached ? nullptr : canvas, p.channels, p.pixels(), canvas_layout(p)};
}

template <class T>
struct ReadySegment {
  int64_t at;  // of all (batch * count)
  Segment<T> s;
  Cover cover;
  BoxTable<T> x, y;       // for kGrid
  ChunkList<T> list;      // the first of its chunks
  bool more;              // there are others
  ChunkFinder<T> finder;  // of these

  // Lists the next chunks. `next` is local to the caller: what is written to the list cannot change
  // it, so that it stays in registers.
  SOFTRASTER_INLINE void list_next(ChunkFinder<T>& next) {
    next.list_next(s, list);
    more = !next.done();
    if (more) finder = next;
  }
  // The next chunks into `list`; false where none are left.
  SOFTRASTER_INLINE bool list_more() {
    if (!more) return false;
    ChunkFinder<T> next = finder;
    list_next(next);
    if (cover == Cover::kLine) raise(list.odds + kLanes, list.size);
    return list.size > 0;
  }
};

template <class T>
class Block {
 public:
  static constexpr int kSegments = kLanes;

  // with_grads: its tables get derivatives, too.
  Block(int64_t rows, int64_t columns, bool with_grads)
      : width_(columns),
        largest_(largest_table(rows) + largest_table(columns)),
        room_(largest_ + kSpareNumbers),
        numbers_(new T[(with_grads ? 4 : 1) * room_]),
        first_(new T[room_ / kLanes + kListedAtOnce]),
        shape_of_(new int32_t[room_ / kLanes + kListedAtOnce]) {}

  SOFTRASTER_INLINE void clear() { size_ = tables_ = odds_used_ = 0, used_ = 0; }
  SOFTRASTER_INLINE int size() const { return size_; }
  SOFTRASTER_INLINE bool has_room() const { return size_ < kSegments && used_ + largest_ <= room_; }
  SOFTRASTER_INLINE ReadySegment<T>& operator[](int i) { return segments_[i]; }

  // A segment with its boxes, and the rows and columns, at least one each, that it reaches. Its
  // first pixels are asked for, to be there when it is drawn.
  template <bool with_grads>
  SOFTRASTER_INLINE void add(int64_t at, const Segment<T>& segment, BandRows rows, Range columns,
                             const Pixels<T>& pixels) {
    ReadySegment<T>& ready = segments_[size_++];
    ready.at = at;
    ready.s = segment;
    const Range chunks = chunk_range(columns, width_), drawn = pixels.layout.columns;
    const int64_t chunks_end = std::min(chunks.end, width_);
    const bool all_drawn = drawn.begin <= chunks.begin && chunks_end <= drawn.end;
    if (segment.kind != Kind::kCapsule) {
      const Range boxes = all_drawn ? chunks : chunks_with(drawn, chunks);
      ready.x = list_table<with_grads>(boxes, segment.mid_x, ready.s.box_x);
      ready.y =
          list_table<with_grads>({rows.block_begin(), rows.end}, segment.mid_y, ready.s.box_y);
    }
    const bool with_second = with_grads || segment.kind == Kind::kCapsule;
    ready.cover = cover_of(ready.s);
    const bool with_odds = ready.cover == Cover::kLine;
    ready.list.odds = odds_ + odds_used_;
    if (with_odds) list_lane_odds(ready.s, ready.list.odds);
    ChunkFinder<T> finder(ready.s, rows, columns, chunks_end, drawn, all_drawn, with_second,
                          with_odds);
    ready.list_next(finder);
    if (with_odds) odds_used_ += kLanes + (ready.more ? kListed : ready.list.size);
    for (int64_t plane = 0; pixels.first && plane < pixels.planes; ++plane) {
      const T* const first = pixels.first + plane * pixels.stride;
      for (int32_t i = 0; i < ready.list.size; ++i) {
        __builtin_prefetch(first + pixels.layout.at(ready.list.row[i], ready.list.column[i]));
      }
    }
  }

  // Once all segments are there.
  template <bool with_grads>
  SOFTRASTER_INLINE void finish() {
    const ListedBoxes<T> listed = {first_.get(), shape_of_.get(), shapes_};
    fill_boxes<with_grads>(listed, used_ / kLanes, numbers_.get(), room_);
    raise(odds_, odds_used_);
  }

 private:
  static constexpr int kListedAtOnce = 4;         // chunks
  static constexpr int64_t kSpareNumbers = 4096;  // for the tables of a few segments

  static SOFTRASTER_INLINE void list_lane_odds(const Segment<T>& s, T* odds) {
    const Lanes<T> from_middle = lane_numbers<T>() - T(kMiddleLane);
    store(from_middle * T(s.softness * axes_of(s.kind, s).first_x), odds);
  }

  // Of a box, filled by finish().
  template <bool with_grads>
  SOFTRASTER_INLINE BoxTable<T> list_table(Range pixels, double middle, const BoxShape<T>& shape) {
    const Vector<double, kListedAtOnce> steps = {0, kLanes, 2 * kLanes, 3 * kLanes};
    const Vector<int32_t, kListedAtOnce> shapes = Vector<int32_t, kListedAtOnce>{} + tables_;
    const int64_t size = table_size(pixels), chunk = used_ / kLanes;
    for (int64_t i = 0; i < size / kLanes; i += kListedAtOnce) {
      const Vector<double, kListedAtOnce> at = steps + (double(pixels.begin + i * kLanes) + 0.5);
      const auto first = __builtin_convertvector(at - middle, Vector<T, kListedAtOnce>);
      std::memcpy(first_.get() + chunk + i, &first, sizeof first);
      std::memcpy(shape_of_.get() + chunk + i, &shapes, sizeof shapes);
    }
    shapes_[tables_++] = shape;
    T* const value = numbers_.get() + used_;
    const int64_t next = with_grads ? room_ : 0;
    used_ += size;
    return {pixels.begin, value, value + next, value + 2 * next, value + 3 * next};
  }

  int64_t width_, largest_, room_;
  std::unique_ptr<T[]> numbers_;  // of tables
  std::unique_ptr<T[]> first_;    // ListedBoxes of these
  std::unique_ptr<int32_t[]> shape_of_;
  BoxShape<T> shapes_[2 * kSegments];
  int64_t used_ = 0;
  int size_ = 0, tables_ = 0, odds_used_ = 0;
  T odds_[kSegments * (kLanes + kListed) + kLanes] = {};
  ReadySegment<T> segments_[kSegments];
};

// Calls visit(segment) for all that `add` adds to the block, in order. next() is the next segment
// of all (batch * count), or negative where there are no more. add(at, lanes, lane) adds it or not,
// and returns false if it is to be the last one.
template <bool with_grads, class T, class Next, class Add, class Visit>
SOFTRASTER_INLINE void for_ready(const DrawSegmentsParams<T>& p, Block<T>& block, const Next& next,
                                 const Add& add, const Visit& visit) {
  SegmentLanes<T> lanes;
  for (bool more = true; more;) {
    int64_t at[kLanes];
    int size = 0;
    while (size < kLanes && (at[size] = next()) >= 0) ++size;
    more = size == kLanes;
    if (size == 0) return;
    make_lanes(p, at, size, lanes);
    for (int lane = 0; lane < size;) {
      block.clear();
      for (; lane < size && block.has_room(); ++lane) {
        if (!add(at[lane], lanes, lane)) size = lane, more = false;
      }
      block.template finish<with_grads>();
      for (int i = 0; i < block.size(); ++i) visit(block[i]);
    }
  }
}

}  // namespace cpu
}  // namespace softraster
