// Processes that train one network together, on one machine or on several: the ranks 0 to n - 1. They meet at a store
// (LibTorch's TCPStore), and sum tensors by LibTorch's process groups: Gloo for tensors on the CPU, NCCL for those on
// GPUs.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Ranks> ranks, Ranks::Join(place, device));
//   ranks->Sum(tensor);          // in place, the same bits on all ranks
//   if (ranks->Any(stop)) ...    // the same answer on all ranks
//   ranks->Leave();              // all ranks are done
//
// All ranks make the same calls in the same order. A rank that has died, is frozen or cannot be reached would leave the
// others waiting for ever. So each shows once a second, by a thread of its own, that it is alive, and one that has not
// for `silence_seconds` is lost: then the others end themselves, with its name on standard error and the exit status
// kLostRankStatus. There is nothing to go on with, because a sum without that rank is another one; whoever started the
// ranks starts them again, from the last checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/base/share.h"

namespace prunelab {

// The exit status of a rank that has lost another one.
constexpr int kLostRankStatus = 76;

// The name in the store (rank_store.h) that is set when a rank has left a meeting.
std::string LeftName(const std::string& meeting, int64_t rank);

// Where a rank meets the others.
struct RankPlace {
  int64_t rank = 0, ranks = 1;
  std::string address;  // of the store: a host's name or address, and its port
  int64_t port = 0;
  std::string meeting;          // in the store; no other meeting there has the same name
  double silence_seconds = 30;  // after which a rank is lost
  double join_seconds = 600;    // that the others have to come
};

class Ranks {
 public:
  // Waits for the others. `device`: where the tensors are that will be summed, besides the CPU. Errors:
  // DeadlineExceeded, if the store cannot be reached, or a rank, which is named, has not come in time.
  static absl::StatusOr<std::unique_ptr<Ranks>> Join(const RankPlace& place, c10::Device device);

  // Without Leave, the other ranks lose this one.
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int64_t rank() const;
  int64_t size() const;
  bool first() const { return rank() == 0; }
  Share share() const { return {rank(), size()}; }

  // A sum that is being computed.
  class Pending {
   public:
    virtual ~Pending() = default;
    // Until the tensor is the sum. On a GPU the stream waits, and not the host.
    virtual void Wait() = 0;
  };
  // The sum of `tensor` over ranks, in its place, while the caller goes on. It is dense, and nobody else uses it until
  // Wait has returned.
  std::unique_ptr<Pending> StartSum(const at::Tensor& tensor);
  void Sum(const at::Tensor& tensor) { StartSum(tensor)->Wait(); }

  // Whether any rank says true.
  bool Any(bool mine);
  // What rank 0 says; the others' `bytes` do not matter.
  std::string OfFirst(const std::string& bytes);
  // `numbers` of each rank, in their order; all ranks have equally many.
  std::vector<std::vector<int64_t>> Gather(const std::vector<int64_t>& numbers);

  // For all ranks at the end. After it nothing else may be called, except for these two, which then do nothing.
  void Leave();
  // When a rank gives up for a reason of its own, which the others then name as the reason of their end. Like Leave,
  // but it waits for nobody.
  void Abandon(const std::string& why);

 private:
  class State;
  explicit Ranks(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace prunelab
