// Which instruction set runs. Chosen once, when the library is loaded.
#ifndef LATEWOOD_DISPATCH_H
#define LATEWOOD_DISPATCH_H

#include <string>
#include <vector>

#include "maxsim.h"

namespace latewood {

// The sets that this build has, that this processor runs, and that agreed with baseline on a small trial, best first.
// Baseline is always the last.
const std::vector<const Kernels*>& usable();

// Names of sets that this processor claims to run and that failed the trial. A set in here is a bug worth reporting.
const std::vector<std::string>& rejected();

// The set in use: the first usable one, unless forced.
const Kernels& active();

// Uses the set of this name from now on. False, and no change, when it isn't usable.
bool force(const std::string& name);

}  // namespace latewood

#endif
