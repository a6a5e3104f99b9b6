"""What drives its answers, and may that be believed?"""
