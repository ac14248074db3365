#include "ml/execution/host_lead.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>
#include <utility>

namespace prunelab {

void HostLead::EndStep() {
  under_way_.push_back(mark_());
  if (static_cast<int64_t>(under_way_.size()) <= kSteps) return;
  const Wait wait = std::move(under_way_.front());
  under_way_.pop_front();
  wait();
}

HostLead::Mark MarkOf(c10::Device device) {
  return [device]() -> HostLead::Wait {
    const auto event = std::make_shared<c10::Event>(device.type());
    event->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    return [event] { event->synchronize(); };
  };
}

}  // namespace prunelab
