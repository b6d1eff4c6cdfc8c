;;; mailsync-gnus-test.el --- Tests of Gnus's side of mailsync  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus on a generated Maildir tree, over nnmaildir and over
;; nnimap to a private Dovecot on a free port.  Nothing sleeps for a
;; fixed time: `mailsync-gnus-test--wait' looks for a condition, up to
;; a deadline.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; From folder to groups

(defmacro mailsync-gnus-test--with-groups (groups &rest body)
  "Evaluate BODY in a Gnus that knows GROUPS, a list of (NAME METHOD)."
  (declare (indent 1))
  `(let* ((gnus-newsrc-alist
           (cons '("dummy.group" 0 nil)
                 (mapcar (lambda (group)
                           (list (car group) 3 nil nil (cadr group)))
                         ,groups)))
          (gnus-newsrc-hashtb (make-hash-table :test #'equal))
          (gnus-killed-list nil)
          (gnus-zombie-list nil)
          (mailsync-gnus--index nil))
     (dolist (info (cdr gnus-newsrc-alist))
       (puthash (car info) (list 0 info) gnus-newsrc-hashtb))
     ,@body))

(ert-deftest mailsync-gnus-test-imap-names ()
  "Each way in which a server spells a folder is understood."
  (pcase-dolist
      (`(,folder ,names ,expected)
       '(("INBOX" ("INBOX") "INBOX")
         ("INBOX" ("inbox") "inbox")
         ("INBOX" ("Inbox" "INBOX.a") "Inbox")
         ("INBOX" ("INBOXES") nil)
         ("a" ("a" "A") "a")
         ("A" ("a") nil)
         ("a/b" ("a.b") "a.b")
         ("a/b" ("a/b") "a/b")
         ("a/b" ("a/b" "a.b") "a/b")
         ("a/b" ("INBOX.a.b") "INBOX.a.b")
         ("a/b" ("Inbox/a/b") "Inbox/a/b")
         ("a/b" ("a.b" "INBOX.a.b") "a.b")
         ("a/b" ("#a.b") "#a.b")
         ("a/b" ("b" "a") nil)
         ("INBOX/a/b" ("INBOX.a.b" "a.b") "INBOX.a.b")
         ("INBOX/a/b" ("a.b") "a.b")
         ("a.b" ("a.b") "a.b")
         ("Entwürfe" ("Entwürfe") "Entwürfe")
         ("R&D" ("R&D") "R&D")
         ("with space" ("with space") "with space")
         ("%s" ("%s") "%s")
         ("a:b+c" ("a:b+c") "a:b+c")))
    (let ((method '(nnimap "local" (nnimap-address "localhost"))))
      (mailsync-gnus-test--with-groups
          (mapcar (lambda (name) (list (concat "nnimap+local:" name) method))
                  names)
        (should (equal (list folder names
                             (mailsync-gnus-folder-groups
                              (list "home" folder nil)))
                       (list folder names
                             (and expected
                                  (list (concat "nnimap+local:" expected))))))))))

(ert-deftest mailsync-gnus-test-imap-servers ()
  "The server of an account is the local one, or the one that it names."
  (let ((here '(nnimap "here" (nnimap-address "127.0.0.1")))
        (shell '(nnimap "shell" (nnimap-stream shell)))
        (far '(nnimap "far" (nnimap-address "imap.example.org"))))
    (pcase-dolist
        (`(,methods ,wanted ,expected)
         `(((,here) nil ("nnimap+here:a"))
           ((,shell) nil ("nnimap+shell:a"))
           ((,far) nil nil)
           ((,here ,far) nil ("nnimap+here:a"))
           ((,here ,shell) nil nil)     ; which one?
           ((,here ,shell) "shell" ("nnimap+shell:a"))
           ((,here ,far) "nnimap:far" ("nnimap+far:a"))
           ((,here ,far) "other" nil)))
      (let ((mailsync-gnus-test--accounts `(("home" :gnus-server ,wanted))))
        (mailsync-gnus-test--with-groups
            (mapcar (lambda (method)
                      (list (format "nnimap+%s:a" (cadr method)) method))
                    methods)
          (should (equal (list methods wanted
                               (mailsync-gnus-folder-groups '("home" "a" nil)))
                         (list methods wanted expected))))))))

(ert-deftest mailsync-gnus-test-imap-servers-elsewhere ()
  "The server of an account without a maildir is elsewhere, if there is one."
  (let ((here '(nnimap "here" (nnimap-address "127.0.0.1")))
        (far '(nnimap "far" (nnimap-address "imap.example.org")))
        (other '(nnimap "other" (nnimap-address "imap.example.com"))))
    (pcase-dolist
        (`(,methods ,wanted ,expected)
         `(((,here) nil ("nnimap+here:a"))
           ((,here ,far) nil ("nnimap+far:a"))
           ((,here ,far ,other) nil nil) ; which one?
           ((,here ,far ,other) "here" ("nnimap+here:a"))))
      (let ((mailsync-gnus-test--accounts
             `(("home" :remote (watcher "x") :gnus-server ,wanted))))
        (mailsync-gnus-test--with-groups
            (mapcar (lambda (method)
                      (list (format "nnimap+%s:a" (cadr method)) method))
                    methods)
          (should (equal (list methods wanted
                               (mailsync-gnus-folder-groups '("home" "a" nil)))
                         (list methods wanted expected))))))))

(ert-deftest mailsync-gnus-test-maildir-directories ()
  "An nnmaildir group is found by its directory, however it is spelt."
  (let* ((dir (file-truename (make-temp-file "mailsync-gnus" t)))
         (server (expand-file-name "server" dir))
         (names '("plain" "with space" "per%s" "Entw&APw-rfe" "R&-D" "~tilde"
                  "a.b" "quote\"d" "x:y+z" "日本語"))
         (mailsync-gnus-test--resolve #'funcall)
         (mailsync-gnus-test--accounts '(("home"))))
    (unwind-protect
        (progn
          (make-directory server t)
          (dolist (name names)
            (make-directory (expand-file-name (concat "mail/" name) dir) t)
            (make-symbolic-link (expand-file-name (concat "mail/" name) dir)
                                (concat server "/" name)))
          ;; Two groups for one folder, on two servers.
          (make-symbolic-link (expand-file-name "mail/plain" dir)
                              (concat server "/second"))
          (mailsync-gnus-test--with-groups
              (append
               (mapcar (lambda (name)
                         (list (concat "nnmaildir+m:" name)
                               `(nnmaildir "m" (directory ,server))))
                       (cons "second" names))
               `(("nnmaildir+form:plain"
                  (nnmaildir "form" (directory (concat ,dir "/mail"))))
                 ("nnmaildir+wrong:plain"
                  (nnmaildir "wrong" (directory (error "Oh"))))))
            (mailsync-gnus--refresh-index #'ignore)
            (dolist (name (cdr names))
              (should (equal (mailsync-gnus-folder-groups
                              (list "home" name
                                    (concat dir "/mail/" name "/")))
                             (list (concat "nnmaildir+m:" name)))))
            (should (equal (sort (mailsync-gnus-folder-groups
                                  (list :account "home" :folder "plain"
                                        :directory "/elsewhere"
                                        :truename (concat dir "/mail/plain")))
                                 #'string<)
                           '("nnmaildir+form:plain" "nnmaildir+m:plain"
                             "nnmaildir+m:second")))
            (should-not (mailsync-gnus-folder-groups
                         (list "home" "other" (concat dir "/mail"))))))
      (delete-directory dir t))))

(ert-deftest mailsync-gnus-test-configured-groups ()
  "An account may name its groups itself, and a mistake there is logged."
  (mailsync-gnus-test--with-groups '(("g" (nnml "x")) ("h" (nnml "x")))
    (pcase-dolist
        (`(,groups ,expected)
         `((,(lambda (change) (and (equal (plist-get change :folder) "a")
                                   '("g" "h" "unknown")))
            ("g" "h"))
           (,(lambda (_) "g") ("g"))
           ((("b" "g") ("a" "h")) ("h"))
           ((("b" "g")) nil)
           (,(lambda (_) (error "Oh")) nil)))
      (let ((mailsync-gnus-test--accounts `(("home" :gnus-groups ,groups)))
            (mailsync-gnus-test--log nil))
        (should (equal (mailsync-gnus-folder-groups '("home" "a" nil))
                       expected))))
    (let ((mailsync-gnus-test--accounts
           `(("home" :gnus-groups ,(lambda (_) (error "Oh")))))
          (mailsync-gnus-test--log nil))
      (mailsync-gnus-folder-groups '("home" "a" nil))
      (should (string-match-p "home: :gnus-groups: Oh"
                              (car mailsync-gnus-test--log))))))

;;;; Ranges

(ert-deftest mailsync-gnus-test-ranges ()
  "Ranges are what Gnus makes of the same numbers."
  (pcase-dolist (`(,range ,number ,without ,with)
                 '((nil 3 nil (3))
                   ((1 . 5) 3 ((1 . 2) (4 . 5)) ((1 . 5)))
                   ((1 . 5) 6 ((1 . 5)) ((1 . 6)))
                   ((1 . 5) 1 ((2 . 5)) ((1 . 5)))
                   ((1 . 2) 2 (1) ((1 . 2)))
                   (((1 . 3) 5 (7 . 9)) 5 ((1 . 3) (7 . 9)) ((1 . 3) 5 (7 . 9)))
                   (((1 . 3) 5 (7 . 9)) 4 ((1 . 3) 5 (7 . 9)) ((1 . 5) (7 . 9)))
                   (((1 . 3) 5 (7 . 9)) 8 ((1 . 3) 5 7 9) ((1 . 3) 5 (7 . 9)))
                   ((3) 3 nil (3))))
    (let ((info (list "group" 3 (copy-tree range))))
      (should (equal (mailsync-gnus--range-without range number) without))
      (should (eq (mailsync-gnus--in-range-p number range)
                  (and (gnus-member-of-range number range) t)))
      (mailsync-gnus--add-read info (list number))
      (should (equal (mailsync-gnus--info-read info) with))
      (should (equal (gnus-uncompress-range with)
                     (gnus-uncompress-range
                      (gnus-add-to-range (copy-tree range) (list number))))))))

;;;; A check

(defun mailsync-gnus-test--transcript (backend method)
  "What BACKEND with the check METHOD makes of a series of changes."
  (let ((steps nil)
        (mailsync-gnus-check-method method)
        ;; Flags right after new mail would be seen later.
        (mailsync-gnus--echo 0)
        (folders '("folder000" "list0/sub002" "INBOX")))
    (mailsync-gnus-test--with (list backend) folders
      (cl-flet ((step (what &rest changes)
                  (setq mailsync-gnus-test--hooks nil)
                  (let ((answer (apply #'mailsync-gnus-test--check changes)))
                    (push (list what
                                (car answer)
                                (mapcar (lambda (change)
                                          (list (plist-get change :folder)
                                                (mapcar #'cdr (plist-get change :groups))))
                                        (cadr answer))
                                (reverse mailsync-gnus-test--hooks)
                                (mapcar (lambda (folder)
                                          (let ((group (mailsync-gnus-test--group
                                                        backend folder)))
                                            (list (fixture-unread group)
                                                  (string-replace
                                                   mailsync-gnus-test--name "NAME"
                                                   (fixture-line group)))))
                                        folders))
                          steps))))
        (step 'nothing (mailsync-gnus-test--change "folder000" 'unknown))
        (mailsync-gnus-test--deliver "folder000")
        (step 'one (mailsync-gnus-test--change "folder000" 'new))
        (dotimes (_ 2) (mailsync-gnus-test--deliver "list0/sub002"))
        (mailsync-gnus-test--deliver "INBOX")
        (step 'three (mailsync-gnus-test--change "list0/sub002" 'new)
              (mailsync-gnus-test--change "INBOX" 'new))
        (mailsync-gnus-test--mark-seen
         (car (mailsync-gnus-test--unseen "INBOX")))
        (step 'read-elsewhere (mailsync-gnus-test--change "INBOX" 'flags))
        (step 'again (mailsync-gnus-test--change "INBOX" 'unknown)
              (mailsync-gnus-test--change "folder000" 'flags))
        (should-not (cl-find-if (lambda (line) (string-match-p "error" line))
                                mailsync-gnus-test--log))))
    (nreverse steps)))

(defun mailsync-gnus-test--compare (backend)
  "Compare the two check methods over BACKEND."
  (let ((parts (mailsync-gnus-test--transcript backend 'parts))
        (command (mailsync-gnus-test--transcript backend 'command)))
    ;; That they are equal proves little if nothing happens in them.
    (should (equal (mapcar (lambda (step) (nth 2 step)) parts)
                   (let ((n (caar (nth 4 (car parts))))
                         (sub (car (nth 1 (nth 4 (car parts)))))
                         (inbox (car (nth 2 (nth 4 (car parts))))))
                     `(nil
                       (("folder000" ((,n ,(1+ n)))))
                       (("list0/sub002" ((,sub ,(+ 2 sub))))
                        ("INBOX" ((,inbox ,(1+ inbox)))))
                       nil nil))))
    (should (equal (mapcar (lambda (step) (nth 3 step)) parts)
                   (let ((both '(gnus-get-new-news-hook
                                 gnus-after-getting-new-news-hook)))
                     `(nil ,both ,both nil nil))))
    (cl-mapc (lambda (one other) (should (equal one other))) parts command)))

(ert-deftest mailsync-gnus-test-methods-agree-nnmaildir ()
  (mailsync-gnus-test--compare 'nnmaildir))

(ert-deftest mailsync-gnus-test-imap-insert ()
  "What a server says gets into the buffer as by Emacs's own filter."
  (let ((run (lambda (filter where)
               (with-temp-buffer
                 (set-buffer-multibyte nil)
                 (let ((process (make-pipe-process :name "insert" :noquery t
                                                   :buffer (current-buffer)
                                                   :coding 'binary)))
                   (unwind-protect
                       (progn
                         (insert "0123456789")
                         (set-marker (process-mark process) 6)
                         (goto-char where)
                         (when (= where 9) (narrow-to-region 8 10))
                         (dolist (text '("a\r\n" "\344\377" ""))
                           (funcall filter process text))
                         (list (point)
                               (marker-position (process-mark process))
                               (save-restriction (widen) (buffer-string))))
                     (delete-process process)))))))
    (dolist (where '(1 5 6 7 9 11))
      (should (equal (funcall run #'mailsync-gnus--imap-insert where)
                     (funcall run #'internal-default-process-filter where))))
    ;; One whose buffer is gone.
    (let* ((buffer (generate-new-buffer " *insert*"))
           (process (make-pipe-process :name "insert" :noquery t :buffer buffer)))
      (let ((kill-buffer-query-functions nil))
        (set-process-buffer process nil)
        (kill-buffer buffer))
      (unwind-protect
          (mailsync-gnus--imap-insert process "x")
        (delete-process process)))))

(ert-deftest mailsync-gnus-test-methods-agree-nnimap ()
  (mailsync-gnus-test--compare 'nnimap))

(ert-deftest mailsync-gnus-test-both-back-ends ()
  "A folder that two servers show is checked on both."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000")
    (mailsync-gnus-test--deliver "folder000")
    (let ((answer (mailsync-gnus-test--check
                   (mailsync-gnus-test--change "folder000" 'new))))
      (should (equal (car answer) '(("folder000" . checked))))
      (should (equal (sort (mapcar #'car (plist-get (car (cadr answer)) :groups))
                           #'string<)
                     (list (mailsync-gnus-test--group 'nnimap "folder000")
                           (mailsync-gnus-test--group 'nnmaildir "folder000")))))))

(ert-deftest mailsync-gnus-test-catch-up ()
  "Flags that came with new mail are found in a longer idle moment."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--mark-seen
       (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 1 (plist-get (mailsync-gnus-status) :catch-up)))
      (setq mailsync-gnus-catch-up-delay 0)
      (mailsync-gnus--arm)
      (mailsync-gnus-test--wait (= (fixture-unread group) before))
      (should (= 0 (plist-get (mailsync-gnus-status) :catch-up)))
      ;; A full check leaves nothing to catch up with.
      (setq mailsync-gnus-catch-up-delay 1000)
      (mailsync-gnus-test--check
       (mailsync-gnus-test--change "folder000" 'new 'flags))
      (should (= 0 (plist-get (mailsync-gnus-status) :catch-up))))))

(ert-deftest mailsync-gnus-test-catch-up-costly ()
  "A look in full that takes long waits for a longer idle moment."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((costly (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (cheap (mailsync-gnus-test--group 'nnmaildir "folder001"))
          (idle 5)
          (checked nil))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'unknown)
                                 (mailsync-gnus-test--change "folder001" 'unknown))
      (should (floatp (gethash costly mailsync-gnus--costs)))
      (puthash costly 0.3 mailsync-gnus--costs)
      (dolist (folder '("folder000" "folder001"))
        (mailsync-gnus-test--deliver folder))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new)
                                 (mailsync-gnus-test--change "folder001" 'new))
      (maphash (lambda (_ entry) (setcar entry (- (float-time) 1000)))
               mailsync-gnus--catch-up)
      (let ((mailsync-gnus-catch-up-delay 10))
        (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () idle))
                  ((symbol-function 'mailsync-gnus--check-group)
                   (lambda (group &rest _)
                     (push group checked)
                     (list group 'checked 1 1))))
          (should-not (mailsync-gnus--catch-up-wait))
          (setq idle 10)
          (should (eql (mailsync-gnus--catch-up-wait) 0))
          (mailsync-gnus--catch-up-one)
          (should (equal checked (list cheap)))
          (should (< 49 (mailsync-gnus--catch-up-wait) 51))
          (mailsync-gnus--catch-up-one)
          (should (equal checked (list cheap)))
          (setq idle 60)
          (should (eql (mailsync-gnus--catch-up-wait) 0))
          (mailsync-gnus--catch-up-one)
          (should (equal checked (list costly cheap)))
          (should-not (mailsync-gnus--catch-up-wait)))))))

(ert-deftest mailsync-gnus-test-echo ()
  "That nnmaildir moves a new message to cur/ brings no full look at once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (catch-up (lambda () (plist-get (mailsync-gnus-status) :catch-up))))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (should (= (fixture-unread group) (1+ before)))
      ;; If another program has changed flags it is found later.
      (mailsync-gnus-test--mark-seen
       (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 1 (funcall catch-up)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check
       (mailsync-gnus-test--change "folder000" 'flags 'new))
      (should (= (fixture-unread group) (+ 2 before)))
      (should (= 1 (funcall catch-up)))
      ;; A while later it is not an echo.
      (let ((mailsync-gnus--echo 0))
        (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags)))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 0 (funcall catch-up)))
      ;; Without new mail there is none.
      (mailsync-gnus-test--mark-seen
       (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
      (should (= (fixture-unread group) before)))))

(ert-deftest mailsync-gnus-test-waits-for-no-disk ()
  "What nnmaildir notes about a new message need not be on the disk at once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (write-region-inhibit-fsync nil)
           (seen nil)
           (look (lambda (&rest _) (push write-region-inhibit-fsync seen))))
      (mailsync-gnus-test--deliver "folder000")
      (advice-add 'write-region :before look)
      (unwind-protect
          (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
        (advice-remove 'write-region look))
      (should (= (fixture-unread group) (1+ before)))
      (should seen)
      (should-not (memq nil seen))
      (should-not write-region-inhibit-fsync))))

(ert-deftest mailsync-gnus-test-vanished ()
  "Unread messages that another program deleted are no longer counted."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group)))
      (should (> before 0))
      (delete-file (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
      (should (= (fixture-unread group) before)) ; hence the kind matters
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'gone))
      (should (= (fixture-unread group) (1- before)))
      ;; Nor is one that came at the same time lost.
      (delete-file (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check
       (mailsync-gnus-test--change "folder000" 'gone 'new))
      (should (= (fixture-unread group) (1- before)))
      ;; nnmaildir thinks that one which was read is unread now.
      (delete-file (car (cl-set-difference
                         (mailsync-gnus-test--files "folder000")
                         (mailsync-gnus-test--unseen "folder000")
                         :test #'equal)))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'gone))
      (should (= (fixture-unread group) (1- before)))
      ;; All of them.
      (mapc #'delete-file (mailsync-gnus-test--files "folder000"))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'gone))
      (should (= (fixture-unread group) 0)))))

(ert-deftest mailsync-gnus-test-renamed-by-a-syncer ()
  "A message that a syncer renames when it has sent it counts once."
  (dolist (echo '(0 1000))
    (mailsync-gnus-test--with '(nnmaildir) '("folder000")
      (let* ((mailsync-gnus--echo echo)
             (group (mailsync-gnus-test--group 'nnmaildir "folder000"))
             (before (fixture-unread group)))
        (dotimes (_ 2)
          (mailsync-gnus-test--deliver "folder000" "sent"))
        (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
        (should (= (fixture-unread group) (+ before 2)))
        ;; As mbsync does; the kernel calls it a rename, and so it is no `gone'.
        (dolist (file (mailsync-gnus-test--unseen "folder000"))
          (when (string-search ".fixture" file)
            (rename-file file (string-replace ".fixture" ".fixture,U=1" file))))
        (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
        ;; The look in full is due at once, or in a longer idle moment.
        (setq mailsync-gnus-catch-up-delay 0)
        (mailsync-gnus--arm)
        (mailsync-gnus-test--wait
         (= 0 (plist-get (mailsync-gnus-status) :catch-up)))
        (should (= (fixture-unread group) (+ before 2)))))))

(ert-deftest mailsync-gnus-test-renamed-by-the-syncer ()
  "What the account's own syncer has renamed counts once at once.
That is also so right after the message came, when a rename might be
nnmaildir's own; while that is still no reason for a look in full."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((mailsync-gnus--echo 1000)
           (group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (catch-up (lambda () (plist-get (mailsync-gnus-status) :catch-up)))
           (check (lambda (origins &rest kinds)
                    (mailsync-gnus-test--check
                     (plist-put (apply #'mailsync-gnus-test--change
                                       "folder000" kinds)
                                :origins origins)))))
      (mailsync-gnus-test--deliver "folder000" "sent")
      (funcall check '(local) 'new)
      (funcall check '(local) 'flags)
      (should (= 1 (funcall catch-up)))
      (dolist (file (mailsync-gnus-test--unseen "folder000"))
        (when (string-search ".fixture" file)
          (rename-file file (string-replace ".fixture" ".fixture,U=1" file))))
      (funcall check '(sync) 'flags)
      (should (= (fixture-unread group) (1+ before)))
      (should (= 0 (funcall catch-up)))
      ;; What it brings is counted like any other mail.
      (mailsync-gnus-test--deliver "folder000")
      (funcall check '(sync) 'new)
      (mailsync-gnus-test--deliver "folder000")
      (funcall check '(local sync) 'flags 'new)
      (should (= (fixture-unread group) (+ 3 before)))
      (should (= 1 (funcall catch-up))))))

(ert-deftest mailsync-gnus-test-vanished-many ()
  "However many vanished, nnmaildir forgets them, a few in one go."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (mailsync-gnus--vanished-time 0)
           (vanished 0)
           (checks 0))
      (dotimes (i 700)
        (write-region (format "Subject: %d\nMessage-ID: <%d@many>\n\n" i i) nil
                      (expand-file-name
                       (format "cur/%d.many:2," (+ 1000 i))
                       (mailsync-gnus-test--directory "folder000"))
                      nil 'silent))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'unknown))
      (should (= (fixture-unread group) (+ before 700)))
      (dolist (file (mailsync-gnus-test--files "folder000"))
        (when (string-match-p "[05]\\.many" file)
          (delete-file file)
          (setq vanished (1+ vanished))))
      (should (> vanished (* 10 mailsync-gnus--vanished-few)))
      (advice-add 'mailsync-gnus--check-group :filter-return
                  (lambda (report)
                    ;; The count does not wait for it.
                    (should (= (fixture-unread group)
                               (- (+ before 700) vanished)))
                    (setq checks (1+ checks))
                    report)
                  '((name . many)))
      (unwind-protect
          (mailsync-gnus-test--check
           (mailsync-gnus-test--change "folder000" 'gone))
        (advice-remove 'mailsync-gnus--check-group 'many))
      (should (= (fixture-unread group) (- (+ before 700) vanished)))
      (should (= checks (/ vanished mailsync-gnus--vanished-few))))))

(defun mailsync-gnus-test--imap (folder &rest commands)
  "Do what another IMAP client does: select FOLDER and send COMMANDS."
  (let ((process (make-network-process
                  :name "other-client" :host "127.0.0.1"
                  :service mailsync-gnus-test--imap-port :noquery t
                  :buffer (generate-new-buffer " *other-client*"))))
    (unwind-protect
        (with-current-buffer (process-buffer process)
          (dolist (command (append `("LOGIN user any"
                                     ,(concat "SELECT " folder))
                                   commands '("LOGOUT")))
            (process-send-string process (format "t %s\r\n" command))
            (mailsync-gnus-test--wait
             (save-excursion
               (goto-char (point-min))
               (prog1 (re-search-forward "^t OK" nil t)
                 (delete-region (point-min) (point)))))))
      (delete-process process)
      (kill-buffer (process-buffer process)))))

(defun mailsync-gnus-test--number-of (group file)
  "The number in GROUP of the message in FILE, by the corpus's numbering."
  (if (string-prefix-p "nnimap" group)
      (mailsync-gnus-test--uid file)
    (nnmaildir-base-name-to-article-number
     (car (split-string (file-name-nondirectory file) ":"))
     (gnus-group-real-name group) mailsync-gnus-test--name)))

(defun mailsync-gnus-test--uid (file)
  "The UID of the message in FILE of the corpus, new to its server."
  (- (string-to-number (substring (file-name-nondirectory file) 0 10))
     1599999999))

(defun mailsync-gnus-test--flag (backend folder file flags)
  "Give the message in FILE of FOLDER just FLAGS, as another client of BACKEND.
FILE is what the name would be without flags."
  (if (eq backend 'nnimap)
      (mailsync-gnus-test--imap
       folder
       (format "UID STORE %d FLAGS.SILENT (%s)"
               (mailsync-gnus-test--uid file)
               flags))
    (rename-file (car (file-expand-wildcards (concat file "*")))
                 (concat file (mapconcat (lambda (flag)
                                           (pcase flag
                                             ("\\Answered" "R")
                                             ("\\Flagged" "F")
                                             ("\\Seen" "S")))
                                         (split-string flags)
                                         "")))))

(ert-deftest mailsync-gnus-test-flagged-elsewhere ()
  "What another program does to flags shows; it is no message that vanished."
  (dolist (backend '(nnmaildir nnimap))
    (mailsync-gnus-test--with (list backend) '("folder000")
      (let* ((group (mailsync-gnus-test--group backend "folder000"))
             (before (fixture-unread group))
             (file (car (mailsync-gnus-test--unseen "folder000"))))
        (pcase-dolist (`(,flags ,expected)
                       `(("\\Answered" 0)
                         ("\\Seen" -1)
                         ("" 0)
                         ;; Ticked: where nnimap counts it as read.
                         ("\\Flagged" ,(if (eq backend 'nnimap) -1 0))
                         ("" 0)
                         ("\\Answered \\Seen" -1)
                         ("\\Answered" 0)))
          (mailsync-gnus-test--flag backend "folder000" file flags)
          ;; After the first, nothing has changed.
          (dolist (kind '(flags unknown gone))
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder000" kind))
            (should (equal (list backend flags kind (fixture-unread group))
                           (list backend flags kind (+ before expected))))))
        ;; Nor is there a mark left.
        (dolist (mark '(tick reply))
          (should (equal (mailsync-gnus--in-range-p
                          (mailsync-gnus-test--number-of group file)
                          (cdr (assq mark (gnus-info-marks
                                           (gnus-get-info group)))))
                         (eq mark 'reply))))))))

(ert-deftest mailsync-gnus-test-new-folder ()
  "A folder is checked from the moment that Gnus shows it, not before."
  (mailsync-gnus-test--with '(nnmaildir) '("INBOX")
    (let ((directory (mailsync-gnus-test--directory "brand/new"))
          (group (mailsync-gnus-test--group 'nnmaildir "brand/new")))
      (dolist (sub '("cur" "new" "tmp"))
        (make-directory (expand-file-name sub directory) t))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change
                            "brand/new" 'folder-created)))
                     '(("brand/new" . no-group))))
      (should (equal (plist-get (mailsync-gnus-status) :left-alone)
                     '(("brand/new" . "no group in Gnus"))))
      (make-symbolic-link directory
                          (expand-file-name "server/brand.new"
                                            mailsync-gnus-test--dir))
      (gnus-subscribe-group group nil (gnus-group-method group))
      (gnus-activate-group group 'scan)
      (mailsync-gnus-test--deliver "brand/new")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "brand/new" 'new)))
                     '(("brand/new" . checked))))
      (should (= 1 (fixture-unread group)))
      (should-not (plist-get (mailsync-gnus-status) :left-alone)))))

(ert-deftest mailsync-gnus-test-moved-link ()
  "A group whose link was turned to another folder is found there."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
    (let ((link (expand-file-name "server/folder000" mailsync-gnus-test--dir)))
      (delete-file link)
      (make-symbolic-link (mailsync-gnus-test--directory "folder001") link))
    (should (equal (car (mailsync-gnus-test--check
                         (mailsync-gnus-test--change "folder001" 'new)))
                   '(("folder001" . checked))))))

(ert-deftest mailsync-gnus-test-many-arrivals ()
  "Many new messages in one folder are taken in little by little."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (other (mailsync-gnus-test--group 'nnmaildir "folder001"))
           (before (fixture-unread group))
           (new (expand-file-name "new"
                                  (mailsync-gnus-test--directory "folder000")))
           (count (+ 2 (* 3 mailsync-gnus--arrivals-max)))
           (reports nil))
      (dotimes (i count)
        (write-region (format "Subject: %d\nMessage-ID: <%d@many>\n\n" i i) nil
                      (expand-file-name (format "%d.many" (+ 1000 i)) new)
                      nil 'silent))
      (mailsync-gnus-test--deliver "folder001")
      (advice-add 'mailsync-gnus--check-group :filter-return
                  (lambda (report) (push report reports) report)
                  '((name . many)))
      (unwind-protect
          (let ((answer (mailsync-gnus-test--check
                         (mailsync-gnus-test--change "folder000" 'new 'flags)
                         (mailsync-gnus-test--change "folder001" 'new))))
            (should (equal (car answer) '(("folder000" . checked)
                                          ("folder001" . checked))))
            (should (equal (plist-get (car (cadr answer)) :groups)
                           `((,group ,before ,(+ before count))))))
        (advice-remove 'mailsync-gnus--check-group 'many))
      (should (equal (mapcar (lambda (report) (list (nth 0 report) (nth 1 report)))
                             (nreverse reports))
                     ;; And the other need not wait for all of them.
                     `((,group partial) (,other checked) (,group partial)
                       (,group partial) (,group checked))))
      (should (equal (directory-files new nil "\\`[^.]") nil))
      ;; In the order in which they came.
      (with-current-buffer nntp-server-buffer
        (gnus-retrieve-headers
         (number-sequence (- (cdr (gnus-active group)) (1- count))
                          (cdr (gnus-active group)))
         group)
        (should (equal (cl-loop for line in (split-string (buffer-string) "\n" t)
                                collect (nth 1 (split-string line "\t")))
                       (cl-loop for i below count collect (number-to-string i)))))
      ;; The same at once.
      (dotimes (i count)
        (write-region (format "Subject: %d\nMessage-ID: <%d@more>\n\n" i i) nil
                      (expand-file-name (format "%d.more" (+ 2000 i)) new)
                      nil 'silent))
      (should (equal (mailsync-gnus-check group) `((,group . checked))))
      (should (= (fixture-unread group) (+ before count count))))))

(ert-deftest mailsync-gnus-test-arrivals-that-do-not-end ()
  "Mail that comes faster than it is taken in makes no slice longer."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (new (expand-file-name "new"
                                  (mailsync-gnus-test--directory "folder000")))
           (batch (+ 2 mailsync-gnus--arrivals-max))
           (delivered 0)
           (rounds nil))
      (cl-flet ((deliver ()
                  (dotimes (_ batch)
                    (write-region "Subject: x\n\n" nil
                                  (expand-file-name
                                   (format "%d.stream" (+ 1000 (cl-incf delivered)))
                                   new)
                                  nil 'silent))))
        (deliver)
        (advice-add 'mailsync-gnus--check-group :filter-return
                    (lambda (report)
                      (push (nth 3 report) rounds)
                      (when (< (length rounds) 5) (deliver))
                      report)
                    '((name . stream)))
        (unwind-protect
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder000" 'new))
          (advice-remove 'mailsync-gnus--check-group 'stream)))
      (should (= (fixture-unread group) (+ before delivered)))
      (should (= delivered (* 5 batch)))
      (cl-loop for (later earlier) on rounds while earlier
               do (should (<= (- later earlier) mailsync-gnus--arrivals-max))))))

(ert-deftest mailsync-gnus-test-arrivals-from-the-future ()
  "Messages that nnmaildir does not take in yet make no endless loop."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (new (expand-file-name "new"
                                  (mailsync-gnus-test--directory "folder000"))))
      (dotimes (i 40)
        (let ((file (expand-file-name (format "%d.future" (+ 1000 i)) new)))
          (write-region "Subject: x\n\n" nil file nil 'silent)
          (when (< i 35)
            (set-file-times file (time-add nil 100000)))))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (should (= (fixture-unread group) (+ before 5))))))

;;;; Splitting, and groups of groups

(defun mailsync-gnus-test--split (method)
  "Mail in the inbox of a server that splits is split, then counted, by METHOD."
  (mailsync-gnus-test--with '(nnimap) '("INBOX")
    (let ((mailsync-gnus-check-method method)
          (port mailsync-gnus-test--imap-port))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (setq mailsync-gnus-test--name (concat mailsync-gnus-test--name "split")
            mailsync-gnus-test--accounts
            `(("home" :gnus-server ,mailsync-gnus-test--name)))
      (fixture-configure (expand-file-name "home" mailsync-gnus-test--dir)
                         mailsync-gnus-test--name nil port)
      (setcdr (last (car gnus-secondary-select-methods))
              (list '(nnimap-inbox "INBOX")
                    '(nnimap-split-methods (("folder000" "^Subject:.*list")
                                            ("INBOX" "")))))
      (let* ((inbox (mailsync-gnus-test--group 'nnimap "INBOX"))
             (list (mailsync-gnus-test--group 'nnimap "folder000"))
             inboxed listed answer)
        (fixture-start inbox list)
        ;; What the corpus left in the inbox.
        (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
        (setq inboxed (fixture-unread inbox)
              listed (fixture-unread list)
              nnmail-split-history '((("before" . 1))))
        (mailsync-gnus-test--deliver "INBOX" "to the list")
        (mailsync-gnus-test--deliver "INBOX" "to me")
        (setq answer (mailsync-gnus-test--check
                      (mailsync-gnus-test--change "INBOX" 'new)))
        (should (equal (car answer) '(("INBOX" . checked))))
        (should (equal (list (fixture-unread inbox) (fixture-unread list))
                       (list (1+ inboxed) (1+ listed))))
        (should (equal (sort (copy-sequence
                              (plist-get (car (cadr answer)) :groups))
                             (lambda (a b) (string< (car a) (car b))))
                       `((,inbox ,inboxed ,(1+ inboxed))
                         (,list ,listed ,(1+ listed)))))
        (should (equal (car (last nnmail-split-history)) '(("before" . 1))))
        (should (= 1 (cl-count '(("before" . 1)) nnmail-split-history
                               :test #'equal)))
        (should (cdr nnmail-split-history))
        ;; Another folder splits nothing.
        (mailsync-gnus-test--deliver "INBOX" "to the list")
        (mailsync-gnus-test--check
         (mailsync-gnus-test--change "folder000" 'new))
        (should (= (fixture-unread list) (1+ listed)))
        (let ((mailsync-gnus-split nil))
          (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
          (should (= (fixture-unread inbox) (+ 2 inboxed))))
        ;; A group that gets mail and must not be checked is named.
        (setf (gnus-info-level (gnus-get-info list)) 9)
        (mailsync-gnus-test--deliver "INBOX" "to the list")
        (should-not (assoc list (plist-get (mailsync-gnus-status) :left-alone)))
        (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
        (should (assoc list (plist-get (mailsync-gnus-status) :left-alone)))))))

(ert-deftest mailsync-gnus-test-split-by-parts ()
  (mailsync-gnus-test--split 'parts))

(ert-deftest mailsync-gnus-test-split-by-command ()
  (mailsync-gnus-test--split 'command))

(ert-deftest mailsync-gnus-test-virtual ()
  "A virtual group follows its members."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
    (let* ((maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (imap (mailsync-gnus-test--group 'nnimap "folder000"))
           (virtual "nnvirtual:both")
           (method (list 'nnvirtual (concat "\\`" (regexp-opt (list maildir imap))
                                            "\\'")))
           before)
      (gnus-group-make-group "both" method)
      (gnus-activate-group virtual 'scan)
      (mailsync-gnus-check virtual)
      (setq before (fixture-unread virtual))
      (should (= before (+ (fixture-unread maildir) (fixture-unread imap))))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (mailsync-gnus-test--wait (= (fixture-unread virtual) (+ 2 before)))
      (should-not (plist-get (mailsync-gnus-status) :last-error)))))

;;;; Left alone

(ert-deftest mailsync-gnus-test-left-alone ()
  "What Gnus does not want to be looked at is left alone, and named."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
    (let* ((maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (imap (mailsync-gnus-test--group 'nnimap "folder000"))
           (method (gnus-find-method-for-group imap))
           (server (assoc method gnus-opened-servers))
           (info (gnus-get-info maildir)))
      (cl-flet ((expect (reason group result)
                  (clrhash mailsync-gnus--left-alone)
                  (mailsync-gnus-test--deliver "folder000")
                  (should (equal (car (mailsync-gnus-test--check
                                       (mailsync-gnus-test--change
                                        "folder000" 'unknown)))
                                 `(("folder000" . ,result))))
                  (should (equal (cdr (assoc group (plist-get (mailsync-gnus-status)
                                                              :left-alone)))
                                 reason))))
        (expect nil imap 'checked)
        (let ((before (fixture-unread imap)))
          (setcar (cdr server) 'denied)
          (expect "server denied" imap 'checked)
          (setcar (cdr server) 'closed)
          (expect "server closed" imap 'checked)
          (setq gnus-opened-servers (delq server gnus-opened-servers))
          (expect "server never opened" imap 'checked)
          (should (= (fixture-unread imap) before))
          (should-not (eq (gnus-server-status method) 'ok))
          (setcar (cdr server) 'ok)
          (push server gnus-opened-servers)
          (expect nil imap 'checked)
          (should (= (fixture-unread imap) (+ 4 before))))
        (setf (gnus-info-rank info) 7)
        (expect "level too high" maildir 'checked)
        (setf (gnus-info-rank info) 3)
        (let ((active (gnus-active maildir)))
          (remhash maildir gnus-active-hashtb)
          (expect "never activated" maildir 'checked)
          (should-not (gnus-active maildir))
          (puthash maildir active gnus-active-hashtb))
        (expect nil maildir 'checked)
        ;; Now none is left.
        (setcar (cdr server) 'denied)
        (gnus-group-change-level (gnus-group-entry maildir) 9 3)
        (expect "killed" maildir 'no-group)))))

(ert-deftest mailsync-gnus-test-left-alone-is-bounded ()
  (let ((mailsync-gnus--left-alone (make-hash-table :test #'equal)))
    (dotimes (i (* 3 mailsync-gnus--left-alone-max))
      (mailsync-gnus--leave-alone (format "folder%d" i) "why not"))
    (should (= (hash-table-count mailsync-gnus--left-alone)
               mailsync-gnus--left-alone-max))
    (should (gethash (format "folder%d" (1- (* 3 mailsync-gnus--left-alone-max)))
                     mailsync-gnus--left-alone))))

(ert-deftest mailsync-gnus-test-erring-group ()
  "A group that errs is logged, tried at its next change, and stops nobody."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
    (let ((away (expand-file-name "away" mailsync-gnus-test--dir))
          (directory (mailsync-gnus-test--directory "folder000"))
          (group (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (change (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'flags))
      (rename-file directory away)
      (mailsync-gnus-test--deliver "INBOX")
      (should (equal (car (mailsync-gnus-test--check
                           change
                           (mailsync-gnus-test--change "INBOX" 'new)
                           (mailsync-gnus-test--change "folder001" 'new)))
                     '(("folder000" . failed) ("INBOX" . checked)
                       ("folder001" . checked))))
      (should (equal (car (plist-get (mailsync-gnus-status) :last-error)) group))
      (should (cl-find-if (lambda (line)
                            (string-match-p (concat "\\`error: " (regexp-quote group))
                                            line))
                          mailsync-gnus-test--log))
      (rename-file away directory)
      (let ((before (fixture-unread group)))
        (mailsync-gnus-test--deliver "folder000")
        (should (equal (car (mailsync-gnus-test--check change))
                       '(("folder000" . checked))))
        (should (= (fixture-unread group) (1+ before)))))))

(ert-deftest mailsync-gnus-test-signalling-group ()
  "An error out of Gnus is an error of that group only."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((bad (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (original (symbol-function 'gnus-activate-group)))
      (cl-letf (((symbol-function 'gnus-activate-group)
                 (lambda (group &rest args)
                   (if (equal group bad)
                       (error "Oh 100%%s")
                     (apply original group args)))))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'new)
                             (mailsync-gnus-test--change "folder001" 'new)))
                       '(("folder000" . failed) ("folder001" . checked)))))
      (should (equal (plist-get (mailsync-gnus-status) :last-error)
                     (cons bad "Oh 100%s"))))))

(ert-deftest mailsync-gnus-test-own-error ()
  "An error of our own is logged and leaves nobody waiting."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (dolist (function '(mailsync-gnus--item-known-groups
                        mailsync-gnus--check-for mailsync-gnus--next-unit))
      (setq mailsync-gnus-test--log nil)
      (cl-letf (((symbol-function function) (lambda (&rest _) (error "Oh"))))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'new)))
                       '(("folder000" . failed))))
        (should (string-match-p "Oh" (car mailsync-gnus-test--log))))
      (should (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked)))))))

(ert-deftest mailsync-gnus-test-missing-mailbox ()
  "A mailbox that is gone on the IMAP server fails; the others are checked."
  (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
    (delete-directory (mailsync-gnus-test--directory "folder000") t)
    (let ((group (mailsync-gnus-test--group 'nnimap "folder001")))
      (mailsync-gnus-test--deliver "folder001")
      (let ((before (fixture-unread group)))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'gone)
                             (mailsync-gnus-test--change "folder001" 'new)))
                       '(("folder000" . failed) ("folder001" . checked))))
        (should (= (fixture-unread group) (1+ before)))))))

(ert-deftest mailsync-gnus-test-deleted-folder ()
  "A folder that was deleted is not asked for."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (delete-directory (mailsync-gnus-test--directory "folder000") t)
    (should (equal (car (mailsync-gnus-test--check
                         (mailsync-gnus-test--change "folder000"
                                                     'gone 'folder-deleted)))
                   '(("folder000" . no-group))))
    (should-not (plist-get (mailsync-gnus-status) :last-error))))

;;;; Gnus comes and goes

(ert-deftest mailsync-gnus-test-not-running ()
  "While Gnus is off changes are kept, and checked when it starts."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "INBOX")
    (let ((group (mailsync-gnus-test--group 'nnimap "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (should (get-buffer mailsync-gnus--imap-buffer-name))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (should-not (mailsync-gnus-ready-p))
      (should-not (get-buffer mailsync-gnus--imap-buffer-name))
      (should-not (cl-find-if (lambda (process)
                                (string-match-p "nnimap" (process-name process)))
                              (process-list)))
      (mailsync-gnus-test--deliver "folder000")
      (let ((box (mailsync-gnus-test--send
                  (mailsync-gnus-test--change "folder000" 'new)
                  (mailsync-gnus-test--change "nowhere" 'new))))
        ;; At once.
        (should (equal box '(1 (("nowhere" . not-running)
                                ("folder000" . not-running))
                               nil)))
        (should (= 2 (plist-get (mailsync-gnus-status) :pending)))
        (should-not mailsync-gnus--timer)
        (should-not mailsync-gnus--idle-timer)
        (fixture-start group)
        ;; What its start missed:
        (mailsync-gnus-test--deliver "folder000")
        (let ((before (fixture-unread group)))
          (mailsync-gnus-test--wait
           (= 0 (plist-get (mailsync-gnus-status) :pending)))
          (should (= (fixture-unread group) (1+ before))))
        (should (equal (car box) 1))))))

(ert-deftest mailsync-gnus-test-quit-meanwhile ()
  "Whoever waits is told when Gnus quits, and the folder is kept."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000")
    (let ((box (let ((gnus-inhibit-demon t))
                 (prog1 (mailsync-gnus-test--send
                         (mailsync-gnus-test--change "folder000" 'new))
                   (accept-process-output nil 0.05)))))
      (should-not (car box))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (should (equal box '(1 (("folder000" . not-running)) nil)))
      (should (= 1 (plist-get (mailsync-gnus-status) :pending))))))

(ert-deftest mailsync-gnus-test-half-started ()
  "Gnus is not ready before it has started, nor when it is suspended."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (should (mailsync-gnus-ready-p))
    (let ((gnus-newsrc-hashtb nil))
      (should-not (mailsync-gnus-ready-p))
      (should (equal (mailsync-gnus-test--send
                      (mailsync-gnus-test--change "folder000" 'new))
                     '(1 (("folder000" . not-running)) nil))))
    (mailsync-gnus--started)
    (mailsync-gnus-test--wait (= 0 (plist-get (mailsync-gnus-status) :pending)))
    (with-current-buffer gnus-group-buffer (gnus-group-suspend))
    (should (gnus-alive-p))
    (should-not (mailsync-gnus-ready-p))
    (should (equal (mailsync-gnus-test--send
                    (mailsync-gnus-test--change "folder000" 'new))
                   '(1 (("folder000" . not-running)) nil)))))

(ert-deftest mailsync-gnus-test-teardown ()
  "Nothing survives a teardown, and both ways are idempotent."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000")
    (mailsync-gnus-teardown)
    (let ((hooks '(gnus-group-mode-hook gnus-started-hook
                   gnus-after-exiting-gnus-hook)))
      (cl-flet ((state ()
                  (list (length (process-list))
                        (cl-count-if (lambda (buffer)
                                       (string-match-p "mailsync\\|nnimap"
                                                       (buffer-name buffer)))
                                     (buffer-list))
                        (cl-count-if (lambda (timer)
                                       (string-prefix-p
                                        "mailsync"
                                        (format "%s" (timer--function timer))))
                                     (append timer-list timer-idle-list))
                        (mapcar #'symbol-value hooks)
                        (buffer-local-value 'mode-line-process
                                            (get-buffer gnus-group-buffer)))))
        (let ((before (state))
              box)
          (dotimes (_ 3)
            (mailsync-gnus-setup)
            (mailsync-gnus-setup)
            (should (equal (buffer-local-value 'mode-line-process
                                               (get-buffer gnus-group-buffer))
                           '("" mailsync-mode-line)))
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder000" 'new))
            (let ((gnus-inhibit-demon t))
              (setq box (mailsync-gnus-test--send
                         (mailsync-gnus-test--change "folder000" 'new)))
              (should-not (equal (state) before))
              (mailsync-gnus-teardown))
            (should (equal box '(1 (("folder000" . not-running)) nil)))
            (mailsync-gnus-teardown)
            (mailsync-gnus-test--wait (equal (state) before))
            (should (= 0 (plist-get (mailsync-gnus-status) :pending)))))))))

;;;; Without disturbing

(ert-deftest mailsync-gnus-test-places ()
  "Point stays where it was, in each window, and nothing is printed."
  (dolist (method '(parts command))
    (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
      (let* ((mailsync-gnus-check-method method)
             (group (mailsync-gnus-test--group 'nnmaildir "folder000"))
             (other (mailsync-gnus-test--group 'nnimap "folder000"))
             (printed nil)
             (set-message-function (lambda (text) (push text printed) nil)))
        (cl-flet ((place (window)
                    (with-current-buffer gnus-group-buffer
                      (save-excursion
                        (goto-char (window-point window))
                        (list (get-text-property (line-beginning-position)
                                                 'gnus-group)
                              (current-column)))))
                  (put-place (window group column)
                    (set-window-point
                     window
                     (with-current-buffer gnus-group-buffer
                       (save-excursion
                         (gnus-group-goto-group group)
                         (move-to-column column)
                         (point))))))
          (save-window-excursion
            (delete-other-windows)
            (switch-to-buffer gnus-group-buffer)
            (let* ((one (selected-window))
                   (two (split-window))
                   (three (split-window)))
              (set-window-buffer three (get-buffer-create "*scratch*"))
              (dolist (selected (list one two three))
                (select-window selected)
                (put-place one group 13)
                (put-place two other 3)
                (let ((state (list (place one) (place two) (selected-window)
                                   (current-buffer) (window-point three)))
                      (before (list (fixture-unread group) (fixture-unread other))))
                  (should (equal (list (place one) (place two))
                                 `((,group 13) (,other 3))))
                  (mailsync-gnus-test--deliver "folder000")
                  (mailsync-gnus-test--check
                   (mailsync-gnus-test--change "folder000" 'new))
                  (should (equal (list (fixture-unread group) (fixture-unread other))
                                 (mapcar #'1+ before)))
                  (should (equal (list (place one) (place two) (selected-window)
                                       (current-buffer) (window-point three))
                                 state)))))))
        (should-not printed)))))

(ert-deftest mailsync-gnus-test-no-prompt ()
  "A check asks nothing: a question in it is an error."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (dolist (ask (list (lambda () (y-or-n-p "Really? "))
                       (lambda () (yes-or-no-p "Really? "))
                       (lambda () (read-string "Name: "))
                       (lambda () (read-passwd "Password: "))))
      (cl-letf (((symbol-function 'gnus-activate-group)
                 (lambda (&rest _) (funcall ask))))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'new)))
                       '(("folder000" . failed))))
        (should (string-match-p
                 "inhibit\\|interaction"
                 (cdr (plist-get (mailsync-gnus-status) :last-error))))))))

(ert-deftest mailsync-gnus-test-wrong-options ()
  "A delay of a wrong type is said, by its name; mail is checked all the same."
  (dolist (backend '(nnmaildir nnimap))
    (mailsync-gnus-test--with (list backend) '("folder000")
      (dolist (wrong '(zz "1" nil -1 (1 . 2)))
        (let ((options '(mailsync-gnus-idle-delay
                         mailsync-gnus-max-wait mailsync-gnus-catch-up-delay
                         mailsync-gnus-imap-timeout mailsync-gnus-imap-open-timeout)))
          (setq mailsync-gnus-test--log nil)
          (cl-progv options (mapcar (lambda (_) wrong) options)
            (mailsync-gnus-test--deliver "folder000")
            (should (equal (car (mailsync-gnus-test--check
                                 (mailsync-gnus-test--change "folder000" 'new)))
                           '(("folder000" . checked)))))
          (let ((log (string-join mailsync-gnus-test--log "\n")))
            (should (string-search "mailsync-gnus-idle-delay" log))
            (should-not (string-search "Wrong type" log))))))))

(ert-deftest mailsync-gnus-test-when ()
  "A check waits for its moment."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (cl-macrolet ((refused (reason &rest bindings)
                    `(let ,bindings
                       (should (eq (mailsync-gnus--refusal) ',reason)))))
      (should-not (mailsync-gnus--refusal))
      (refused macro (executing-kbd-macro [?a]))
      (refused macro (defining-kbd-macro t))
      (let ((overriding-terminal-local-map (make-sparse-keymap)))
        (cl-letf (((symbol-function 'mailsync-gnus--idle)
                   (lambda () mailsync-gnus-max-wait)))
          (refused keymap))
        (cl-letf (((symbol-function 'mailsync-gnus--idle)
                   (lambda () (1+ mailsync-gnus-max-wait))))
          (should-not (mailsync-gnus--refusal))))
      (refused demon (gnus-inhibit-demon t))
      (refused running (mailsync-gnus--running t))
      (refused input (unread-command-events (list ?a)))
      (cl-letf (((symbol-function 'minibuffer-depth) (lambda () 1)))
        (refused minibuffer))
      (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () nil)))
        (refused busy)
        (should-not (mailsync-gnus--refusal t)))
      (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () 0.1)))
        (refused busy)
        (let ((mailsync-gnus-idle-delay 0.05))
          (should-not (mailsync-gnus--refusal)))))))

(defun gnus-mailsync-test-wait (function)
  "A command of Gnus that waits until FUNCTION returns non-nil."
  (mailsync-gnus-test--wait-1 function 'gnus 1))

(ert-deftest mailsync-gnus-test-dirty-stack ()
  "While Gnus itself waits nothing is checked."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((box (mailsync-gnus-test--send
                (mailsync-gnus-test--change "folder000" 'new))))
      (should-error (gnus-mailsync-test-wait (lambda () (car box)))
                    :type 'ert-test-failed)
      (should-not (car box))
      (mailsync-gnus-test--wait (car box))))
  ;; Interactively there is only one stack that is clean; this is none.
  (let ((seen 'none))
    (run-at-time 0 nil (lambda ()
                         (let ((noninteractive nil))
                           (setq seen (mailsync-gnus--clean-stack-p)))))
    (mailsync-gnus-test--wait (not (eq seen 'none)))
    (should-not seen)))

(ert-deftest mailsync-gnus-test-max-wait ()
  "A user who never pauses is served in small slices after a while."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
    (let* ((mailsync-gnus-max-wait 0.4)
           (started (float-time))
           (hurries nil)
           (original (symbol-function 'mailsync-gnus--check-group))
           box)
      (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () nil))
                ((symbol-function 'mailsync-gnus--check-group)
                 (lambda (&rest args)
                   (push mailsync-gnus--hurry hurries)
                   ;; One that takes its time.
                   (let ((end (+ (float-time) 0.02)))
                     (while (< (float-time) end)))
                   (apply original args))))
        (setq box (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)
                   (mailsync-gnus-test--change "folder001" 'new)
                   (mailsync-gnus-test--change "INBOX" 'new)))
        (mailsync-gnus-test--wait (car box))
        (should (>= (- (float-time) started) 0.35))
        (should (equal hurries '(t t t)))
        ;; Each slice ended after one group.
        (should (>= (plist-get mailsync-gnus--counts :slices) 3))
        (should (equal (mapcar #'cdr (cadr box)) '(checked checked checked)))))))

(ert-deftest mailsync-gnus-test-garbage ()
  "While folders wait for the user to pause no garbage is collected."
  (let* ((gc-cons-threshold 800000)
         (before (default-toplevel-value 'gc-cons-threshold))
         (threshold (lambda () (default-toplevel-value 'gc-cons-threshold))))
    (unwind-protect
        (mailsync-gnus-test--with '(nnmaildir) '("folder000")
          (set-default-toplevel-value 'gc-cons-threshold 900000)
          (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () 0.1)))
            (mailsync-gnus-test--send
             (mailsync-gnus-test--change "folder000" 'new))
            (mailsync-gnus-test--wait
             (eql (funcall threshold) mailsync-gnus--gc-threshold))
            (should (timerp mailsync-gnus--release-timer))
            (should-not mailsync-gnus--key-timer)
            ;; It is overdue: between keys.
            (let ((mailsync-gnus-max-wait 0))
              (mailsync-gnus--arm 'busy)
              (should (timerp mailsync-gnus--key-timer)))
            ;; The user pauses.
            (mailsync-gnus--release-garbage)
            (should (eql (funcall threshold) 900000))
            (should-not mailsync-gnus--release-timer)
            ;; What somebody else has set stays.
            (mailsync-gnus--arm 'busy)
            (should (eql (funcall threshold) mailsync-gnus--gc-threshold))
            (set-default-toplevel-value 'gc-cons-threshold 1000000)
            (mailsync-gnus--release-garbage)
            (should (eql (funcall threshold) 1000000))
            (mailsync-gnus--arm 'busy)
            (should (eql (funcall threshold) mailsync-gnus--gc-threshold)))
          (mailsync-gnus-teardown)
          (should (eql (funcall threshold) 1000000))
          (should-not mailsync-gnus--key-timer))
      (set-default-toplevel-value 'gc-cons-threshold before))))

(ert-deftest mailsync-gnus-test-server-is-back ()
  "A server that has failed is asked at once when it is known to be there again."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
    (let ((server (mailsync-gnus--imap-server
                   (gnus-find-method-for-group
                    (mailsync-gnus-test--group 'nnimap "folder000")))))
      (dotimes (_ 5)
        (mailsync-gnus--imap-failed server))
      (should (> (mailsync-gnus--imap-wait server) 60))
      (mailsync-gnus-server-is-back "home")
      (should (eql 0 (mailsync-gnus--imap-wait server)))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new)))))

(ert-deftest mailsync-gnus-test-quit ()
  "When the user quits a check the folder stays pending."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((calls 0)
          (original (symbol-function 'gnus-activate-group))
          box)
      (cl-letf (((symbol-function 'gnus-activate-group)
                 (lambda (&rest args)
                   (if (= (cl-incf calls) 1)
                       ;; Gnus catches it just so.
                       (condition-case nil (signal 'quit nil) (quit nil))
                     (apply original args)))))
        (setq box (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)))
        (mailsync-gnus-test--wait (= calls 1))
        (mailsync-gnus-test--wait mailsync-gnus--timer)
        (should-not (car box))
        (should (= 1 (plist-get (mailsync-gnus-status) :pending)))
        ;; Not at once.
        (accept-process-output nil 0.1)
        (should (= calls 1))
        (mailsync-gnus--step)
        (mailsync-gnus-test--wait (car box))
        (should (equal (cadr box) '(("folder000" . checked))))))))

;; What C-g can end though quitting is inhibited, when it is typed three times.
(ert-deftest mailsync-gnus-test-quit-in-the-middle ()
  "Whatever a quit leaves undone, the folder is checked and whoever asked is told once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (item (lambda () (car (hash-table-values mailsync-gnus--pending)))))
      (pcase-dolist
          (`(,what . ,damage)
           `((nothing . ,#'ignore)
             (the-item . ,(lambda () (clrhash mailsync-gnus--pending)))
             (who-waits . ,(lambda () (setf (mailsync-gnus--item-calls (funcall item)) nil)))
             (the-answer . ,(lambda ()
                              (cl-decf (mailsync-gnus--call-left
                                        (car (mailsync-gnus--item-calls (funcall item)))))))
             (its-groups . ,(lambda () (setq mailsync-gnus--unmapped nil)))
             (its-claim . ,(lambda ()
                             (mailsync-gnus--find-groups)
                             (clrhash mailsync-gnus--claims)))
             (its-turn . ,(lambda ()
                            (mailsync-gnus--find-groups)
                            (setq mailsync-gnus--queue nil mailsync-gnus--queue-tail nil)))
             (the-next-one . ,(lambda ()
                                (puthash (mailsync-gnus--item-key (funcall item)) (funcall item)
                                         mailsync-gnus--next)
                                (clrhash mailsync-gnus--pending)))))
        (ert-info ((format "%s" what))
          (mailsync-gnus-test--deliver "folder000")
          (let ((before (fixture-unread group))
                (box (let ((gnus-inhibit-demon t))
                       (prog1 (mailsync-gnus-test--send
                               (mailsync-gnus-test--change "folder000" 'new))
                         (should (mailsync-gnus--whole-p))
                         (funcall damage)
                         (should (eq (mailsync-gnus--whole-p) (eq what 'nothing)))
                         (mailsync-gnus-go-on)
                         (should (mailsync-gnus--whole-p))))))
            (mailsync-gnus-test--wait (car box))
            (should (equal (cadr box) '(("folder000" . checked))))
            (should (= (fixture-unread group) (1+ before)))
            (mailsync-gnus-test--wait (= 0 (plist-get (mailsync-gnus-status) :pending)))
            (should (= 1 (car box)))
            (should (zerop (hash-table-count mailsync-gnus--calls)))))))))

(ert-deftest mailsync-gnus-test-anew-in-order ()
  "What begins anew is what came last: a folder that was made again is there."
  (let ((mailsync-gnus--pending (make-hash-table :test #'equal))
        (mailsync-gnus--next (make-hash-table :test #'equal))
        (mailsync-gnus--unmapped nil))
    (mailsync-gnus--add (mailsync-gnus-test--change "folder000" 'folder-deleted) nil)
    (setf (mailsync-gnus--item-begun (car (hash-table-values mailsync-gnus--pending))) t)
    (mailsync-gnus--add (mailsync-gnus-test--change "folder000" 'folder-created) nil)
    (should (= 1 (hash-table-count mailsync-gnus--next)))
    (should (= 2 (length (mailsync-gnus--add-anew))))
    (should (= 0 (hash-table-count mailsync-gnus--next)))
    (let* ((items (hash-table-values mailsync-gnus--pending))
           (kinds (plist-get (mailsync-gnus--item-change (car items)) :kinds)))
      (should (= 1 (length items)))
      (should (equal items mailsync-gnus--unmapped))
      (should (memq 'folder-created kinds))
      (should-not (memq 'folder-deleted kinds)))))

;;;; Bounded

;; Security: S26.
(ert-deftest mailsync-gnus-test-bounded ()
  "However many changes wait, each caller is told once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((answers (make-hash-table))
          (count 1000))
      (let ((gnus-inhibit-demon t))
        (dotimes (i count)
          (mailsync-gnus-check-changes
           "home" (list (mailsync-gnus-test--change "folder000" 'new)
                        (mailsync-gnus-test--change
                         (if (cl-oddp i) "folder001" "nowhere") 'flags))
           (lambda (results _news) (push results (gethash i answers)))))
        (should (= 3 (plist-get (mailsync-gnus-status) :pending)))
        (maphash (lambda (_ item)
                   (should (<= (length (mailsync-gnus--item-calls item))
                               mailsync-gnus--calls-max))
                   (should (<= (length (plist-get (mailsync-gnus--item-change item)
                                                  :kinds))
                               2)))
                 mailsync-gnus--pending)
        (should (< (hash-table-count answers) count)))
      (mailsync-gnus-test--wait (= (hash-table-count answers) count))
      (mailsync-gnus-test--wait (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (maphash (lambda (_ value)
                 (should (= 1 (length value)))
                 (should (= 2 (length (car value)))))
               answers))))

(ert-deftest mailsync-gnus-test-no-change-is-lost ()
  "What happens during a check is checked after it."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (before (fixture-unread group))
           (second nil)
           (first nil))
      (mailsync-gnus-test--when-asked
       (lambda ()
         (mailsync-gnus-test--deliver "folder000")
         (setq second (mailsync-gnus-test--send
                       (mailsync-gnus-test--change "folder000" 'new)))))
      (setq first (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait second)
      (mailsync-gnus-test--wait (and (car first) (car second)))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 2 (plist-get mailsync-gnus--counts :groups)))
      (should (equal (mapcar #'car (list first second)) '(1 1))))))

;; What a random reader found (mailsync-life-test.el), one row each.

(ert-deftest mailsync-gnus-test-claimed-while-asked ()
  "A folder that claims a group while another waits for its answer is checked."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (mailsync-gnus-test--accounts '(("home") ("other")))
           (before (fixture-unread group))
           (second nil)
           (first nil))
      (mailsync-gnus-test--when-asked
       (lambda ()
         (mailsync-gnus-test--deliver "folder000")
         (setq second (mailsync-gnus-test--send
                       (plist-put (mailsync-gnus-test--change "folder000" 'new)
                                  :account "other")))
         ;; Claimed before the answer is taken.
         (run-at-time 0 nil #'mailsync-gnus--map-items)))
      (setq first (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait second)
      (mailsync-gnus-test--wait (and (car first) (car second)))
      (should (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (should (= (fixture-unread group) (1+ before))))))

(ert-deftest mailsync-gnus-test-claimed-and-checked-now ()
  "A check of the user's does not settle what is claimed; that is checked, too."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((box (mailsync-gnus-test--send
                (mailsync-gnus-test--change "folder000" 'new))))
      (mailsync-gnus--resolve)
      (mailsync-gnus-test--wait (not (eq 'wait (mailsync-gnus--index-current-p))))
      (mailsync-gnus--map-items)
      (mailsync-gnus-check (mailsync-gnus-test--group 'nnmaildir "folder000"))
      (mailsync-gnus-test--wait (car box))
      (should (equal (nth 1 box) '(("folder000" . checked)))))))

(ert-deftest mailsync-gnus-test-unseen-elsewhere ()
  "A message marked as unread elsewhere is unread, whatever else is asked.
In a row of three: Gnus itself asks about the group before mailsync
does, and another group is asked for from its beginning."
  (pcase-dolist (`(,gnus ,other) '((nil nil) (t nil) (nil t)))
    (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
      (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
             (unread (lambda ()
                       (list (fixture-unread group)
                             (gnus-list-of-unread-articles group))))
             (before (funcall unread))
             (check (lambda ()
                      (mailsync-gnus-test--check
                       (mailsync-gnus-test--change "folder000" 'flags)
                       (mailsync-gnus-test--change "folder001" 'flags))))
             (seen (cl-find-if (lambda (file) (string-match-p ":2,S\\'" file))
                               (mailsync-gnus-test--files "folder000"))))
        (funcall check)
        (should (equal before (funcall unread)))
        (when other
          ;; As that of a folder that has just been subscribed to.
          (let ((info (mailsync-gnus--info
                       (mailsync-gnus-test--group 'nnimap "folder001"))))
            (setf (nth 5 info) (assq-delete-all 'modseq (nth 5 info)))
            (remhash (car info) mailsync-gnus--flags-read)
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder001" 'flags)
             (mailsync-gnus-test--change "folder000" 'flags))
            (should (equal before (funcall unread)))))
        (rename-file seen (substring seen 0 -1))
        (when gnus
          (gnus-group-get-new-news))
        (funcall check)
        (should (= (1+ (car before)) (fixture-unread group)))))))

(ert-deftest mailsync-gnus-test-read-meanwhile ()
  "What the user reads while an answer is on its way is asked for once more.
It may have been marked as unread elsewhere after that."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (info (mailsync-gnus--info group))
           (check (lambda ()
                    (mailsync-gnus-test--check
                     (mailsync-gnus-test--change "folder000" 'flags)))))
      (funcall check)
      (let* ((before (gnus-list-of-unread-articles group))
             (number (car before))
             (unread (cl-find-if-not
                      (lambda (file) (string-match-p ":2,[A-Z]*[SF]" file))
                      (mailsync-gnus-test--files "folder000")))
             (times 0))
        (advice-add 'mailsync-gnus--answered-flags :filter-return
                    (lambda (flags)
                      (cl-incf times)
                      (when (= times 1)
                        ;; As by a Summary that was left; elsewhere it is marked as
                        ;; unread again.
                        (mailsync-gnus--add-read info (list number))
                        (setf (alist-get number
                                         (alist-get "folder000" flags nil nil
                                                    #'equal))
                              nil))
                      flags)
                    '((name . meanwhile)))
        (unwind-protect
            (progn
              (should unread)
              ;; So that the server has something to say.
              (rename-file unread (expand-file-name
                                   (concat "../cur/"
                                           (car (split-string
                                                 (file-name-nondirectory unread)
                                                 ":"))
                                           ":2,R")
                                   (file-name-directory unread)))
              (funcall check)
              (mailsync-gnus-test--wait
               (and (= times 2)
                    (zerop (plist-get (mailsync-gnus-status) :pending)))))
          (advice-remove 'mailsync-gnus--answered-flags 'meanwhile))
        (should-not (gethash group mailsync-gnus--flags-open))
        (should (equal before (gnus-list-of-unread-articles group)))))))

(ert-deftest mailsync-gnus-test-no-change-is-lost-at-once ()
  "The same where the check waits, as Gnus's command does."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (boxes nil))
      (advice-add 'mailsync-gnus--check-group :filter-return
                  (lambda (report)
                    (advice-remove 'mailsync-gnus--check-group 'meanwhile)
                    (mailsync-gnus-test--deliver "folder000")
                    (push (mailsync-gnus-test--send
                           (mailsync-gnus-test--change "folder000" 'new))
                          boxes)
                    report)
                  '((name . meanwhile)))
      (push (mailsync-gnus-test--send
             (mailsync-gnus-test--change "folder000" 'new))
            boxes)
      (mailsync-gnus-test--wait (and (cdr boxes) (cl-every #'car boxes)))
      (should (= (fixture-unread group) (1+ before))))))

(ert-deftest mailsync-gnus-test-names-late ()
  "A file system that does not answer holds up nobody else."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
    (mailsync-gnus-test--wait (mailsync-gnus--index-current-p))
    (let* ((answer nil)
           (mailsync-gnus-test--resolve (lambda (function) (setq answer function)))
           (mailsync-gnus--resolve-timeout 0.2)
           (imap (mailsync-gnus-test--group 'nnimap "folder000"))
           (maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread imap)))
      (should (= before (fixture-unread maildir)))
      (mailsync-gnus--forget-index)
      (mailsync-gnus-test--deliver "folder000")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)
                           (mailsync-gnus-test--change "nowhere" 'new)))
                     '(("folder000" . checked) ("nowhere" . no-group))))
      (should (equal (list (fixture-unread imap) (fixture-unread maildir))
                     (list (1+ before) before)))
      (should (= 2 (plist-get (mailsync-gnus-status) :pending)))
      ;; And nothing polls meanwhile.
      (mailsync-gnus-test--wait (null mailsync-gnus--timer))
      (should-not mailsync-gnus--idle-timer)
      (funcall answer)
      (mailsync-gnus-test--wait (= (fixture-unread maildir) (1+ before))))))

;;;; A server that says nothing

(defmacro mailsync-gnus-test--with-proxy (&rest body)
  "Evaluate BODY with a Gnus whose nnimap server is behind a proxy.
In BODY, (stall FLAG) makes the proxy fall silent, or talk again."
  (declare (indent 0))
  `(mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
     (let* ((port (mailsync-gnus-test--free-port))
            (file (expand-file-name "stall" mailsync-gnus-test--dir))
            (ready nil)
            (proxy (make-process
                    :name "proxy" :noquery t :connection-type 'pipe
                    :command (list (mailsync-gnus-test--fixture "stall-proxy.py")
                                   (number-to-string port)
                                   (number-to-string mailsync-gnus-test--imap-port)
                                   file)
                    :filter (lambda (_ text)
                              (when (string-match-p "ready" text)
                                (setq ready t))))))
       (unwind-protect
           (progn
             (mailsync-gnus-test--wait ready)
             (with-current-buffer gnus-group-buffer (gnus-group-exit))
             (setq mailsync-gnus-test--name
                   (concat mailsync-gnus-test--name "proxy")
                   mailsync-gnus-test--accounts
                   `(("home" :gnus-server ,mailsync-gnus-test--name)))
             (fixture-configure (expand-file-name "home" mailsync-gnus-test--dir)
                                mailsync-gnus-test--name nil port)
             (fixture-start (mailsync-gnus-test--group 'nnimap "folder000")
                            (mailsync-gnus-test--group 'nnimap "folder001"))
             (cl-flet ((stall (flag)
                         (if flag (write-region "" nil file nil 'silent)
                           (delete-file file))))
               ,@body))
         (delete-process proxy)))))

(defun mailsync-gnus-test--our-buffers ()
  "The buffers of connections that nnimap has opened, or tried to, for us."
  (cl-remove-if-not
   (lambda (buffer)
     (string-match-p "nnimap .*mailsync nntp" (buffer-name buffer)))
   (buffer-list)))

(ert-deftest mailsync-gnus-test-silent-server ()
  "A server that falls silent blocks nobody, and nothing is lost."
  (mailsync-gnus-test--with-proxy
    (let* ((mailsync-gnus-imap-timeout 0.5)
           (group (mailsync-gnus-test--group 'nnimap "folder000"))
           (before (fixture-unread group))
           (brought nil)
           (mailsync-new-mail-functions
            (list (lambda (&rest args) (push args brought))))
           (longest 0)
           box last)
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (stall t)
      (mailsync-gnus-test--deliver "folder000")
      (setq last (float-time)
            box (mailsync-gnus-test--send
                 (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait
       (let ((now (float-time)))
         (setq longest (max longest (- now last))
               last now)
         (car box)))
      (should (< longest 0.3))
      (should (equal (cdr box) '((("folder000" . failed)) nil)))
      (should (equal (plist-get (mailsync-gnus-status) :silent)
                     (list (concat "nnimap:" mailsync-gnus-test--name))))
      ;; Gnus's own connection and its state are as they were.
      (should (eq 'ok (gnus-server-status (gnus-find-method-for-group group))))
      ;; Known to be silent: the next one is answered at once.
      (let ((again (mailsync-gnus-test--send
                    (mailsync-gnus-test--change "folder000" 'new))))
        (mailsync-gnus-test--wait (car again) 0.4)
        (should (equal (cadr again) '(("folder000" . failed)))))
      (should (= 1 (plist-get (mailsync-gnus-status) :pending)))
      (stall nil)
      (mailsync-gnus-test--wait (= (fixture-unread group) (1+ before)))
      (mailsync-gnus-test--wait brought)
      (should (equal (mapcar (lambda (args)
                               (plist-get (car (nth 1 args)) :groups))
                             brought)
                     `(((,group ,before ,(1+ before))))))
      (should-not (plist-get (mailsync-gnus-status) :silent))
      (should (= 0 (plist-get (mailsync-gnus-status) :pending))))))

(ert-deftest mailsync-gnus-test-silent-when-opening ()
  "Opening our connection to a silent server is cut short, and leaves nothing."
  (mailsync-gnus-test--with-proxy
    (let ((mailsync-gnus-imap-open-timeout 0.3)
          (processes (process-list))
          (started (float-time)))
      (stall t)
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . failed))))
      (should (< (- (float-time) started) 1.5))
      (should-not (cl-set-difference (process-list) processes))
      (should-not (mailsync-gnus-test--our-buffers))
      (should (= 1 (plist-get (mailsync-gnus-status) :pending))))))

(ert-deftest mailsync-gnus-test-connections-forgotten ()
  "However often our connection was closed, nnimap knows of none that is gone."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (dotimes (_ 3)
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (should nnimap-connection-alist)
      (should (cl-every (lambda (entry) (cl-every #'buffer-live-p entry))
                        nnimap-connection-alist))
      (mailsync-gnus--imap-close-all)
      (should (cl-every (lambda (entry) (cl-every #'buffer-live-p entry))
                        nnimap-connection-alist)))))

(ert-deftest mailsync-gnus-test-connection-dies ()
  "A connection that is closed between two checks is opened anew."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let ((group (mailsync-gnus-test--group 'nnimap "folder000"))
          (before nil))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (setq before (fixture-unread group))
      (delete-process
       (mailsync-gnus--imap-process
        (cdar mailsync-gnus--imap-servers-asked)))
      (mailsync-gnus-test--deliver "folder000")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (should (= (fixture-unread group) (1+ before)))
      ;; Nothing is left of the one before.
      (should (= 1 (length (mailsync-gnus-test--our-buffers)))))))

;;;; The user's own checks

(ert-deftest mailsync-gnus-test-check-now ()
  "`mailsync-gnus-check' has checked when it returns."
  (dolist (method '(parts command))
    (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
      (let* ((mailsync-gnus-check-method method)
             (maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
             (imap (mailsync-gnus-test--group 'nnimap "folder000"))
             (before (fixture-unread imap)))
        (mailsync-gnus-test--deliver "folder000")
        (should (equal (mailsync-gnus-check maildir)
                       `((,maildir . checked))))
        (should (equal (list (fixture-unread maildir) (fixture-unread imap))
                       (list (1+ before) before)))
        (should (equal (reverse mailsync-gnus-test--hooks)
                       '(gnus-get-new-news-hook gnus-after-getting-new-news-hook)))
        (let ((results (mailsync-gnus-check)))
          (should (= (fixture-unread imap) (1+ before)))
          (should (equal (cdr (assoc imap results)) 'checked))
          (should (= 4 (cl-count 'checked results :key #'cdr))))
        (mailsync-gnus-test--deliver "folder000")
        (should (equal (let ((gnus-group-marked (list maildir)))
                         (call-interactively #'mailsync-gnus-check))
                       `((,maildir . checked))))
        (should (= (fixture-unread maildir) (+ 2 before)))
        (with-suppressed-warnings ((obsolete mailsync/gnus-check))
          (should (equal (mailsync/gnus-check (list "no:such" imap))
                         `(("no:such" . "unknown to Gnus")
                           (,imap . checked)))))
        (should (= (fixture-unread imap) (+ 2 before))))))
  (should-not (mailsync-gnus-check))
  (should-error (call-interactively #'mailsync-gnus-check) :type 'user-error))

(ert-deftest mailsync-gnus-test-check-now-while-asked ()
  "A check of the user's does not take the answer of one in the background."
  (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder001"))
           (before (fixture-unread group))
           (result nil)
           (box nil))
      (mailsync-gnus-test--when-asked
       (lambda ()
         (mailsync-gnus-test--deliver "folder001")
         ;; A hook of the user's may do this; it does not wait for us.
         (let ((mailsync-gnus--running nil))
           (setq result (mailsync-gnus-check group)))))
      (setq box (mailsync-gnus-test--send
                 (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait result)
      (should (equal result `((,group . checked))))
      (should (= (fixture-unread group) (1+ before)))
      (mailsync-gnus-test--wait (car box))
      (should (equal (cadr box) '(("folder000" . checked)))))))

;;;; A real command loop

(defmacro mailsync-gnus-test--with-terminal (&rest body)
  "Evaluate BODY with an interactive Emacs, fixtures/gnus-moments.el in it.
In BODY, (keys STRING) types, (tell FORM) has it evaluate FORM,
\(await LINE ...) waits until it has written down lines that begin
so, in this order, after those that were awaited before."
  (declare (indent 0))
  `(let* ((dir (make-temp-file "mailsync-moments" t))
          (facts (expand-file-name "facts" dir))
          (seen 0)
          (mailsync-gnus-test--log nil)
          (library (file-name-directory (locate-library "mailsync-gnus")))
          (process
           (let ((process-environment
                  (append (list (concat "MOMENTS_DIR=" dir) "TERM=vt100"
                                (concat "HOME=" dir))
                          process-environment)))
             (make-process
              :name "terminal" :connection-type 'pty :noquery t :buffer nil
              :filter #'ignore
              :command
              (list "sh" "-c" "stty rows 24 cols 80 raw -echo; exec \"$@\"" "sh"
                    (or (getenv "EMACS")
                        (expand-file-name invocation-name invocation-directory))
                    "-nw" "-Q" "-L" library
                    "-l" (mailsync-gnus-test--fixture "gnus-moments.el"))))))
     (unwind-protect
         (cl-labels
             ((lines () (if (file-exists-p facts)
                            (with-temp-buffer
                              (insert-file-contents facts)
                              (split-string (buffer-string) "\n" t))
                          nil))
              (keys (string) (process-send-string process string))
              (tell (form)
                (let ((file (expand-file-name "command" dir)))
                  (mailsync-gnus-test--wait (not (file-exists-p file)))
                  (write-region (prin1-to-string form) nil
                                (concat file ".tmp") nil 'silent)
                  (rename-file (concat file ".tmp") file)))
              (await (&rest wanted)
                (dolist (line wanted)
                  (mailsync-gnus-test--wait
                   (let* ((lines (setq mailsync-gnus-test--log (lines)))
                          (place (cl-position line (nthcdr seen lines)
                                              :test #'string-prefix-p)))
                     (and place (cl-incf seen (1+ place))))))))
           (ignore #'keys #'tell #'lines)
           ;; A key that comes before the command loop may be lost.
           (mailsync-gnus-test--wait
            (progn (keys "r")
                   (accept-process-output nil 0.1)
                   (member "ready" (lines)))
            20)
           (setq seen (length (lines)))
           ,@body)
       (delete-process process)
       (delete-directory dir t))))

(ert-deftest mailsync-gnus-test-terminal-idle ()
  "Work is done when the user is idle: in this idle period, or in the next."
  (mailsync-gnus-test--with-terminal
    (tell '(moments-begin))
    (await "worked idle")
    ;; While the user is busy only the idle timer can bring it about.
    (keys "abb")
    (await "worked idle")
    (should-not (member "worked hurry" (lines)))
    (tell '(moments-say "said" mailsync-gnus--idle-timer mailsync-gnus--timer))
    (await "said nil nil")))

(ert-deftest mailsync-gnus-test-terminal-minibuffer ()
  "While a question stands in the minibuffer nothing is done."
  (mailsync-gnus-test--with-terminal
    (keys "\ex")
    (mailsync-gnus-test--wait
     (progn (tell '(moments-say "said" (minibuffer-depth)))
            (member "said 1" (lines))))
    (tell '(moments-begin))
    (await "refused minibuffer")
    (tell '(setq moments-refused nil))
    (await "refused minibuffer")
    (should-not (cl-find-if (lambda (line) (string-prefix-p "worked" line))
                            (lines)))
    (keys "\C-g")
    (await "worked idle")))

(ert-deftest mailsync-gnus-test-terminal-waiting-command ()
  "While a command waits, for a server or for a key, nothing is done."
  (mailsync-gnus-test--with-terminal
    (dolist (key '("w" "s"))
      ;; The user need not be idle then, else the stack is not looked at.
      (tell '(progn (setq mailsync-gnus-max-wait 0) (moments-say "said set")))
      (await "said set")
      (keys (concat "\C-c" key))
      (await "refused stack")
      (tell '(setq moments-refused nil))
      (await "refused stack")
      (tell '(setq moments-go t))
      (await "said waited")
      (await "worked"))))

(ert-deftest mailsync-gnus-test-terminal-typing ()
  "A user who types without a pause is served, and loses no key."
  (mailsync-gnus-test--with-terminal
    (tell '(setq mailsync-gnus-max-wait 0.5))
    (tell '(moments-begin))
    (let ((typed "")
          (i 0))
      (mailsync-gnus-test--wait
       (let ((word (format "%d " (cl-incf i))))
         (keys word)
         (setq typed (concat typed word))
         (cl-find-if (lambda (line) (string-prefix-p "worked" line)) (lines))))
      (await "worked hurry")
      (mailsync-gnus-test--wait
       (progn
         (tell '(moments-say "said" (with-current-buffer "typing"
                                      (buffer-string))))
         (member (concat "said " typed) (lines)))))))

;;;; A user at random

(ert-deftest mailsync-gnus-test-user-nnmaildir ()
  (mailsync-gnus-test--user 'nnmaildir 20))

(ert-deftest mailsync-gnus-test-user-nnimap ()
  (mailsync-gnus-test--user 'nnimap 12))

(provide 'mailsync-gnus-test)
;;; mailsync-gnus-test.el ends here
