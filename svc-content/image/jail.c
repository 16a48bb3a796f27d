#include "svc-content/image/jail.h"

#include "common/base/attr.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static bool limit(int what, rlim_t n)
{
	const struct rlimit r = {n, n};

	return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

#ifdef OUR_ARCH

#define LOAD(member)                       \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
	         (uint32_t)offsetof(struct seccomp_data, member))
#define UNLESS(value, skip) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, skip)
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define ALLOW(call)  UNLESS(SYS_##call, 1), ANSWER(SECCOMP_RET_ALLOW)
/* The low half of the third argument holds the bits of protection. */
#define ALLOW_NO_CODE(call)                                            \
	UNLESS(SYS_##call, 4), LOAD(args[2]),                          \
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0), \
		ANSWER(SECCOMP_RET_ALLOW), ANSWER(OTHERWISE)
#define OTHERWISE                                        \
	(SANITIZED ? SECCOMP_RET_ERRNO | (unsigned)EPERM \
	           : SECCOMP_RET_KILL_PROCESS)

static bool filter_calls(void)
{
	static struct sock_filter rules[] = {
		LOAD(arch),
		UNLESS(OUR_ARCH, 1),
		BPF_STMT(BPF_JMP | BPF_JA, 1),
		ANSWER(SECCOMP_RET_KILL_PROCESS),
		LOAD(nr),
		ALLOW(read),
		ALLOW(write),
		ALLOW(close),
		ALLOW(brk),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(madvise),
		ALLOW(futex),
		ALLOW(getrandom),
		ALLOW(clock_gettime),
		ALLOW(rt_sigreturn),
#if SANITIZED
		ALLOW(sigaltstack), /* AddressSanitizer's longjmp() and exit */
#endif
		ALLOW(exit),
		ALLOW(exit_group),
		ALLOW_NO_CODE(mmap),
		LOAD(nr),
		ALLOW_NO_CODE(mprotect),
		ANSWER(OTHERWISE),
	};
	const struct sock_fprog program = {COUNTOF(rules), rules};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#else

static bool filter_calls(void)
{
	return false;
}

#endif

bool jail_enter(uint64_t memory_bytes, unsigned cpu_s)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
	       prctl(PR_SET_DUMPABLE, 0) == 0 && limit(RLIMIT_CORE, 0) &&
	       limit(RLIMIT_FSIZE, 0) && limit(RLIMIT_NOFILE, 0) &&
	       limit(RLIMIT_CPU, cpu_s) &&
	       (SANITIZED || limit(RLIMIT_DATA, memory_bytes)) &&
	       filter_calls();
}
