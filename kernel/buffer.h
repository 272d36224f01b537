// Memory aligned to 64 bytes, freed at the end of its scope.
#ifndef LATEWOOD_BUFFER_H
#define LATEWOOD_BUFFER_H

#include <cstddef>
#include <cstdint>
#include <new>

namespace latewood {

// `count` elements of a plain type, not initialised.
template <class Element>
class Buffer {
    static constexpr std::align_val_t kAlign{64};
    Element* data_;

  public:
    explicit Buffer(std::int64_t count)
        : data_(static_cast<Element*>(::operator new(static_cast<std::size_t>(count) * sizeof(Element), kAlign))) {}
    ~Buffer() { ::operator delete(data_, kAlign); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    Element* get() const { return data_; }
    Element& operator[](std::int64_t i) const { return data_[i]; }
};

}  // namespace latewood

#endif
