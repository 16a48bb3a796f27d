#include "svc-content/image/worker.h"
#include "svc-content/service.h"

int main(int argc, char **argv)
{
	if (worker_is_asked(argc, argv))
		return worker_main(argv);
	return service_main(&content_service, argc, argv);
}
