#include "svc-content/service.h"

int main(int argc, char **argv)
{
	return service_main(&content_service, argc, argv);
}
