"""Reports: one self-contained HTML file, readable without a network.

result.report(path, market=market, strategy=strategy)     report       what is put together, and how it is called
compare({"one": result, "other": other}).write(path)      compare      several runs side by side
gather(result, market, strategy)                          evidence     what is simulated and drawn beforehand

subject      the run and what is known around it     parts     what a page is made of
sections/    one module a section                    traces    what charts are made of
render       sections to HTML                        web/      the template, its style, its script
"""
