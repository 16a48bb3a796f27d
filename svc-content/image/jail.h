/*
 * jail - takes from this process what a decoder of pictures does not need.
 *
 * Why:     libraries that read hostile bytes have had holes and will have more.
 *          Whoever takes one over finds a process that can compute, write to the
 *          descriptors it has, and end.
 * What:    a filter of system calls (seccomp): memory that is not executable,
 *          reading and writing open descriptors, clocks, exit; anything else
 *          kills the process.  Limits of memory and processor time, no core
 *          dump, no file grows, no new descriptor.  It dies with its parent.
 * Where:   Linux on x86-64, AArch64 and RISC-V 64.  Elsewhere, and where the
 *          kernel refuses, jail_enter() is false and nothing is to be decoded.
 *          Under sanitizers memory is not limited and other calls fail instead.
 */
#ifndef SVC_CONTENT_IMAGE_JAIL_H
#define SVC_CONTENT_IMAGE_JAIL_H

#include "common/base/attr.h"

#include <stdbool.h>
#include <stdint.h>

/* Of this process and for ever; it has one thread. */
bool jail_enter(uint64_t memory_bytes, unsigned cpu_s) MUST_CHECK;

#endif
