"""The recorder: what venues give only live, into the store, while researchers read it.

    venue ──websocket──> data.sources.ccxt_stream ──┐
    venue <───REST────── snapshots ─────────────────┤
                                                    v
      Recorder: once each, gaps noted ──> Spool: append-only files ──> Merger: short transactions ──> Store

* `spool`     append-only segments of checked lines; a torn tail costs what was not flushed, nothing else
* `merger`    closed segments into the store, whenever nobody reads it; the same segment twice changes nothing
* `watch`     per feed: until when it was heard, and the gaps between
* `seen`      every event once
* `snapshots` open interest, marks and funding forecasts, depth bands, at an even pace
* `recorder`  puts them together: flush, rotate, merge, status, stop
"""
