from unseg_core.cli import main

main()
