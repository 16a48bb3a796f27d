"""The server of the Flask peer."""
import multiprocessing
import os

bind = f"127.0.0.1:{os.environ['PORT']}"
# As the system that this one replaces was set up.  Workers of this kind close the
# connection behind each answer; its recycling of workers every 1000 requests is left
# out, which favours it.
worker_class = "sync"
workers = 2 * multiprocessing.cpu_count() + 1
accesslog = f"{os.environ['FOLDER']}/access.log"  # ours logs each request, too
