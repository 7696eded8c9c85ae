// tally-cpp: counts events by type and adds up their numbers, as counters of the host; an event without a number is a bad one if the
// configuration says {"strict": true}. What it throws stops at the barrier in keylane_plugin.hpp.
#include <cstdint>
#include <unordered_map>

#include "keylane_plugin.hpp"

namespace {

class tally : public keylane::processor {
  struct cells {
    uint64_t *events, *sum;
  };
  std::unordered_map<uint32_t, cells> by_type_;
  bool strict_ = false;

  // Counters of a type, made when its first event comes; as many types as the host has cells for.
  cells &of(keylane::context cx, uint32_t type_id) {
    auto found = by_type_.find(type_id);
    if (found != by_type_.end()) return found->second;
    std::string labels = "{\"type\":\"";
    for (char c : cx.type_name(type_id)) {
      // The label is JSON. What a program may have in a type's name and JSON may not in a string becomes a question mark.
      labels += c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
    labels += "\"}";
    return by_type_.emplace(type_id, cells{cx.counter("events", labels), cx.counter("sum", labels)}).first->second;
  }

 public:
  tally(keylane::context, std::string_view config) {
    std::string plain;
    for (char c : config) {
      if (c != ' ' && c != '\t' && c != '\r' && c != '\n') plain += c;
    }
    if (plain == "{\"strict\":true}") {
      strict_ = true;
    } else if (plain != "{}" && plain != "{\"strict\":false}") {
      throw std::invalid_argument("config: expected {} or {\"strict\": true} or {\"strict\": false}");
    }
  }

  void on_event(keylane::context cx, const keylane_event &event) override {
    uint64_t number = 0;
    switch (event.value_kind) {
      case KEYLANE_V_U64: number = event.value.u64; break;
      case KEYLANE_V_I64:
        if (event.value.i64 < 0) throw keylane::bad_event("a counter takes no negative number: " + std::to_string(event.value.i64));
        number = event.value.u64;
        break;
      case KEYLANE_V_UTF8:
        // std::stoull throws std::invalid_argument and std::out_of_range, which nobody here catches.
        if (strict_) number = std::stoull(std::string(static_cast<const char *>(event.value.ptr), event.value_len));
        break;
      default:
        if (strict_) throw keylane::bad_event("the value is no whole number");
    }
    const cells &cells = of(cx, event.type_id);
    keylane_cell_add(cells.events, 1);
    keylane_cell_add(cells.sum, number);
  }
};

}  // namespace

KEYLANE_CPP_PLUGIN(tally, "io.keylane.tally-cpp", "0.1.0", 0u,
                   {"Tally", "Counts events by type and adds up their numbers", "MIT OR Apache-2.0",
                    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"tally-cpp\",\"type\":\"object\","
                    "\"additionalProperties\":false,\"properties\":{\"strict\":{\"type\":\"boolean\",\"default\":false,"
                    "\"description\":\"Whether an event without a whole number is a bad one.\"}}}"})
